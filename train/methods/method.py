"""What a method of class-incremental learning is to the rest of the trainer: one record, read by all."""

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

# Learns a stage in place and returns its loss curves, none for a method in closed form.
Learn: TypeAlias = Callable[[StPR, StageClips, Recipe, Trainer], list[Terms]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A method and its traits. `head` wires what stands behind frame features of the given columns."""

    learn: Learn
    head: Callable[[Recipe, Columns], Head]
    memory: Callable[[Recipe], Memory] = lambda _: Memory()
    by_stage: bool = False  # every stage gets an expert, or at least a routing weight, of its own
    keeps_videos: bool = False  # a fresh network learns all stages anew after each: a bound, not a rival

    def grow(self, model: StPR, classes: int) -> None:
        """Enlarge a model by a stage of so many classes, without learning: to load a checkpoint's values into."""
        if self.by_stage:
            model.head.add_stage(classes)
        else:
            model.head.add_classes(classes)
        if model.head.combiner.statistics is not None:
            model.head.combiner.statistics.resize(model.head.classes)
        model.memory.resize(model)
