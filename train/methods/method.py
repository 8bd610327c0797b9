"""The record that describes a method of class-incremental learning to the rest of the trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from stpr.train.learning.fit import Terms, Trainer
from stpr.train.learning.stage_clips import StageClips
from stpr.train.model.columns import Columns
from stpr.train.model.head import Head
from stpr.train.model.stpr import Memory, StPR
from stpr.train.settings.recipe import Recipe

# Trains a stage in place and returns its loss curves (empty for a closed-form method).
Learn: TypeAlias = Callable[[StPR, StageClips, Recipe, Trainer], list[Terms]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A method and its traits. `head` builds the layers after the frame features, which have the given columns."""

    learn: Learn
    head: Callable[[Recipe, Columns], Head]
    memory: Callable[[Recipe], Memory] = lambda _: Memory()
    by_stage: bool = False  # every stage has its own expert, or at least its own routing weight
    keeps_videos: bool = False  # a new network is trained on all stages so far each time: an upper bound

    def grow(self, model: StPR, classes: int) -> None:
        """Extend a model by a stage, without training, so that a checkpoint can be loaded into it."""
        if self.by_stage:
            model.head.add_stage(classes)
        else:
            model.head.add_classes(classes)
        if model.head.combiner.statistics is not None:
            model.head.combiner.statistics.resize(model.head.classes)
        model.memory.resize(model)
