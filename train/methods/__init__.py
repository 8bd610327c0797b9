"""What a stage changes, one small file per method. Each is one function: learn a stage in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stpr.train.learning.fit import Fit, Terms
from stpr.train.learning.inputs import StageInputs
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
from stpr.train.model.stpr import StPR
from stpr.train.settings.recipe import Recipe

Learn = Callable[[StPR, tuple[str, ...], StageInputs, Recipe, Fit], list[Terms]]

METHODS: Mapping[str, Learn] = {
    "stpr": stpr.learn,
    "finetune": finetune.learn,
    "lwf": lwf.learn,
    "ewc": ewc.learn,
    "nearest_mean": nearest_mean.learn,
    "streaming_lda": streaming_lda.learn,
    "ranpac": ranpac.learn,
    "linear_probe": linear_probe.learn,
    "joint": joint.learn,
    "spatial": spatial.learn,
}
