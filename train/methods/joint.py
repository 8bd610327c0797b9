"""Joint training, the upper bound: one expert and one set of adapters, learnt anew from all classes so far.

The objective is that of plain fine-tuning. It keeps the videos of all stages, so it says what there is to reach, and is
no method for a place where videos must go.
"""

from __future__ import annotations

from stpr.train.learning.fit import Fit, Terms
from stpr.train.learning.inputs import StageInputs
from stpr.train.methods import finetune
from stpr.train.model.stpr import StPR
from stpr.train.settings.recipe import Recipe


def learn(model: StPR, classes: tuple[str, ...], inputs: StageInputs, recipe: Recipe, how: Fit) -> list[Terms]:
    """Train a fresh network on the clips of all classes so far; returns the loss curves."""
    return finetune.learn(model, classes, inputs, recipe, how)
