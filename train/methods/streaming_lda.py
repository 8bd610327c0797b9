"""Streaming linear discriminant analysis: class means and one shared covariance of the clip statistics.

Closed form and exemplar-free: the order of stages does not matter. `[statistics] parts` selects the statistics;
parts = ["mean"] is the usual form, on mean frame features.
"""

from __future__ import annotations

from stpr.train.learning.fit import Terms, Trainer
from stpr.train.learning.stage_clips import StageClips
from stpr.train.methods.heads import gaussian_scores
from stpr.train.methods.method import Method
from stpr.train.methods.stage_start import learn_scores
from stpr.train.model.stpr import StPR
from stpr.train.settings.recipe import Recipe


def learn(model: StPR, clips: StageClips, _recipe: Recipe, _trainer: Trainer) -> list[Terms]:
    """Add the classes' means and scatter to the statistics; returns no loss curves."""
    learn_scores(model, clips)
    return []


METHOD = Method(learn=learn, head=gaussian_scores, by_stage=True)
