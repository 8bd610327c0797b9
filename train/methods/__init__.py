"""Methods and baselines, one file each: how a stage is trained, and the traits that the trainer needs to know.

Read in this order: method (the record), stpr (the paper's method), objective (its loss), heads and build (assembling a
network), then any baseline. To add one: write its file with a METHOD, then import it and add its entry here.
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
    """The recipe's method. Raises RecipeError for an unknown name."""
    return entry_of(METHODS, recipe.method, "method")


def check_names(recipe: Recipe) -> None:
    """Raise RecipeError, before any work, for an unknown method or router, or a method without anything to train."""
    if method_of(recipe).head is single_expert and not recipe.expert.layers:
        raise RecipeError(
            f'[expert] layers = 0 leaves method = "{recipe.method}" nothing to learn; use 1 or more layers.'
        )
    router_of(recipe.router)


def cautions(recipe: Recipe) -> list[str]:
    """Caveats that must accompany results of this recipe."""
    return [*recipe.data_cautions, *method_cautions(recipe)]


def method_cautions(recipe: Recipe) -> list[str]:
    """Caveats that follow from the method alone."""
    bound = "keeps the videos of all stages and retrains on them each time: an upper bound, not a competitor."
    return [f"{recipe.method} {bound}"] if method_of(recipe).keeps_videos else []
