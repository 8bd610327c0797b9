"""Plain sequential fine-tuning: one expert and one set of adapters, trained on each stage without any protection."""

from __future__ import annotations

import msgspec

from stpr.train.learning.fit import Terms, Trainer
from stpr.train.learning.stage_clips import StageClips
from stpr.train.methods.heads import single_expert
from stpr.train.methods.method import Method
from stpr.train.methods.objective import ClassContrast, Objective
from stpr.train.methods.stage_start import begin, class_vectors_of
from stpr.train.model.combiners.fusion import Fusion
from stpr.train.model.stpr import StPR
from stpr.train.settings.recipe import Recipe


def learn(model: StPR, clips: StageClips, recipe: Recipe, trainer: Trainer) -> list[Terms]:
    """Continue training the expert on this stage's classes only; returns the loss curves."""
    return trainer.fit(plain_objective(model, clips, recipe), clips)


def plain_objective(model: StPR, clips: StageClips, recipe: Recipe) -> Objective:
    """Add this stage's classes to the expert; returns the contrastive objective among these classes only."""
    offset = begin(model, clips)
    model.head.add_classes(len(clips.classes), class_vectors_of(clips, recipe))
    assert isinstance(model.head.combiner, Fusion)
    alone = msgspec.structs.replace(recipe.contrast, negatives="current")
    contrast = ClassContrast(model.head.combiner.class_vectors, alone, offset=offset)
    return Objective(model.encoder, model.head.experts[-1], contrast)


METHOD = Method(learn=learn, head=single_expert)
