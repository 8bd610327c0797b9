"""RanPAC (McDonnell et al., 2023): ridge regression on random features of the clip statistics, without training.

Closed form and exemplar-free: the order of stages does not matter. Omitted are the paper's fine-tuning on the first
stage and its split of a stage to choose λ (`model/scores/ridge.py`). `[statistics] parts` selects the statistics.
"""

from __future__ import annotations

from stpr.train.learning.fit import Terms, Trainer
from stpr.train.learning.stage_clips import StageClips
from stpr.train.methods.heads import ridge_scores
from stpr.train.methods.method import Method
from stpr.train.methods.stage_start import learn_scores
from stpr.train.model.stpr import StPR
from stpr.train.settings.recipe import Recipe


def learn(model: StPR, clips: StageClips, _recipe: Recipe, _trainer: Trainer) -> list[Terms]:
    """Add the classes' random features to the regression; returns no loss curves."""
    learn_scores(model, clips)
    return []


METHOD = Method(learn=learn, head=ridge_scores, by_stage=True)
