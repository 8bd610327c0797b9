"""Nearest class mean: no training. A clip is the class whose mean frame feature points most nearly the same way.

Closed form: the order of stages doesn't matter.
"""

from __future__ import annotations

from stpr.train.learning.fit import Terms, Trainer
from stpr.train.learning.stage_clips import StageClips
from stpr.train.methods.heads import mean_frame
from stpr.train.methods.method import Method
from stpr.train.methods.stage_start import begin, prototypes
from stpr.train.model.stpr import StPR
from stpr.train.settings.recipe import Recipe


def learn(model: StPR, clips: StageClips, _recipe: Recipe, _trainer: Trainer) -> list[Terms]:
    """Take the classes' mean frame features, at unit length, as their class vectors; there are no loss curves."""
    begin(model, clips)
    model.head.add_classes(len(clips.classes), prototypes(clips))
    return []


METHOD = Method(learn=learn, head=mean_frame)
