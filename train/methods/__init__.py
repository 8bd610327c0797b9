"""The methods, one small file for each: how a stage is learnt, and the traits that the rest of the trainer asks for.

Read in this order: method (the record), stpr (the paper's stage), objective (what is minimised), heads and build (how a
network is put together), then any baseline. To add one: its file with a METHOD, and here its import and its entry.
"""

from __future__ import annotations

from collections.abc import Mapping

from stpr.runtime.contract.errors import RecipeError
from stpr.train.methods import (
    ewc,
    finetune,
    joint,
    linear_probe,
    lwf,
    nearest_mean,
    ranpac,
    spatial,
    stpr,
    streaming_lda,
)
from stpr.train.methods.heads import single_expert
from stpr.train.methods.method import Method
from stpr.train.model.routing import router_of
from stpr.train.settings.messages import entry_of
from stpr.train.settings.recipe import Recipe

METHODS: Mapping[str, Method] = {
    "stpr": stpr.METHOD,
    "finetune": finetune.METHOD,
    "lwf": lwf.METHOD,
    "ewc": ewc.METHOD,
    "nearest_mean": nearest_mean.METHOD,
    "streaming_lda": streaming_lda.METHOD,
    "ranpac": ranpac.METHOD,
    "linear_probe": linear_probe.METHOD,
    "joint": joint.METHOD,
    "spatial": spatial.METHOD,
}


def method_of(recipe: Recipe) -> Method:
    """The recipe's method. Raises RecipeError for a name that nobody knows."""
    return entry_of(METHODS, recipe.method, "method")


def check_names(recipe: Recipe) -> None:
    """Raise RecipeError for a method or a router that nobody knows, or that has no part to learn: before any work."""
    if method_of(recipe).head is single_expert and not recipe.expert.layers:
        raise RecipeError(
            f'[expert] layers = 0 leaves method = "{recipe.method}" nothing to learn; use 1 or more layers.'
        )
    router_of(recipe.router)


def cautions(recipe: Recipe) -> list[str]:
    """What must be said wherever figures of this recipe are shown."""
    return [*recipe.data_cautions, *method_cautions(recipe)]


def method_cautions(recipe: Recipe) -> list[str]:
    """What must be said of the method alone."""
    bound = "keeps the videos of all stages and learns them anew each time: a bound, not a rival."
    return [f"{recipe.method} {bound}"] if method_of(recipe).keeps_videos else []
