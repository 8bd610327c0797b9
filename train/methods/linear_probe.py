"""Joint linear probe: multinomial logistic regression on the clip statistics, refitted on all classes so far.

It keeps the videos of all stages, so it is an upper bound for linear classifiers of these features, not an
exemplar-free method. parts = ["mean"] is the usual form, on mean frame features.
"""

from __future__ import annotations

from stpr.train.learning.fit import Terms, Trainer
from stpr.train.learning.stage_clips import StageClips
from stpr.train.methods.heads import logistic_scores
from stpr.train.methods.method import Method
from stpr.train.methods.stage_start import learn_scores
from stpr.train.model.stpr import StPR
from stpr.train.settings.recipe import Recipe


def learn(model: StPR, clips: StageClips, _recipe: Recipe, _trainer: Trainer) -> list[Terms]:
    """Fit the probe to the clips of all classes so far, on a new network; returns no loss curves."""
    learn_scores(model, clips)
    return []


METHOD = Method(learn=learn, head=logistic_scores, keeps_videos=True)
