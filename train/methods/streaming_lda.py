"""Streaming linear discriminant analysis: class means and one shared covariance of the clip statistics.

Closed form and exemplar-free: the order of stages doesn't matter. `[statistics] parts` says what of a clip is
described; parts = ["mean"] is the usual form, on mean frame features.
"""

from __future__ import annotations

from stpr.train.learning.fit import Fit, Terms
from stpr.train.learning.inputs import StageInputs
from stpr.train.methods.stage_start import learn_scores
from stpr.train.model.stpr import StPR
from stpr.train.settings.recipe import Recipe


def learn(model: StPR, classes: tuple[str, ...], inputs: StageInputs, recipe: Recipe, _how: Fit) -> list[Terms]:
    """Add the classes' means and scatter to the statistics; there are no loss curves."""
    learn_scores(model, classes, inputs, recipe)
    return []
