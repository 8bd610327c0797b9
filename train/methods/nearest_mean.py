"""Nearest class mean, without training: a clip gets the class with the largest cosine to its mean frame feature.

Closed form: the order of stages does not matter.
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
    """Set the class vectors to the classes' mean frame features, normalised; returns no loss curves."""
    begin(model, clips)
    model.head.add_classes(len(clips.classes), prototypes(clips))
    return []


METHOD = Method(learn=learn, head=mean_frame)
