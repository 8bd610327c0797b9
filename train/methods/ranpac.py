"""RanPAC (McDonnell et al., 2023): random features of the clip statistics and ridge regression, without training.

Closed form and exemplar-free: the order of stages doesn't matter. The paper's tuning of the network on the first stage
is left out, as is its split of a stage to choose λ (`model/scores/ridge.py`). `[statistics] parts` says what of a clip
is described.
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
    """Add the classes' random features to the regression; there are no loss curves."""
    learn_scores(model, clips)
    return []


METHOD = Method(learn=learn, head=ridge_scores, by_stage=True)
