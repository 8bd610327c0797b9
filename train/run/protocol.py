"""The class-incremental protocol of the paper: train a stage, discard its videos, test on all classes seen so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch

from stpr.runtime.contract.manifest import UnknownSpec
from stpr.train.data.stages import Stage
from stpr.train.learning.fit import Terms, Trainer
from stpr.train.learning.inputs import Inputs, StageInputs, all_stages
from stpr.train.methods import method_of
from stpr.train.model.stpr import StPR
from stpr.train.run.checkpoint import check_numbers
from stpr.train.run.clips import ClipSource
from stpr.train.run.evaluate import Predicted, predict
from stpr.train.run.open_set import unknown_spec
from stpr.train.run.stage import learn_stage
from stpr.train.settings.recipe import Recipe

NewTrainer: TypeAlias = Callable[[Stage], Trainer]


@dataclass(frozen=True, slots=True)
class Finished:
    """Results of a trained and tested stage. `model` is changed by the next stage, so use it before continuing."""

    stage: Stage
    model: StPR
    curves: list[Terms]
    doubts: list[tuple[int, int]]  # row of a training clip with a doubtful label, class it resembles
    thresholds: tuple[float | None, ...]  # of this stage and all before it
    unknown: UnknownSpec | None
    known: Predicted | None  # test clips of the stages so far
    strange: Predicted | None  # test clips of later stages, if thresholds are evaluated


@dataclass(frozen=True, slots=True)
class Plan:
    """What to learn: a recipe's stages, in order, up to `last`; `build` creates an untrained network."""

    recipe: Recipe
    stages: tuple[Stage, ...]
    last: int
    build: Callable[[], StPR]

    @property
    def classes(self) -> list[str]:
        """All classes in learning order."""
        return [name for stage in self.stages for name in stage.classes]

    def epochs(self, stage: Stage) -> int:
        """The number of epochs of a stage; as many as the first stage's if the method retrains from scratch."""
        settings = self.recipe.optimizer
        first = stage.index == 1 or method_of(self.recipe).keeps_videos
        return settings.epochs_first if first else settings.epochs_later


def learn_stages(
    plan: Plan, model: StPR, clips: ClipSource, new_trainer: NewTrainer, behind: Sequence[float | None] = ()
) -> Iterator[Finished]:
    """Train one stage after the other; `behind` are the thresholds of the stages that `model` has learnt."""
    recipe, stages, lows = plan.recipe, plan.stages, list(behind)
    revisited = _Revisited(clips) if method_of(recipe).keeps_videos else None
    for stage in stages[len(lows) : plan.last]:
        inputs: StageInputs
        if revisited is None:
            classes, inputs = stage.classes, clips.train(model.encoder, stage)
        else:
            torch.manual_seed(recipe.seed)
            model = plan.build()
            classes, inputs = revisited.upto(stage, stages, model)
        clips.test(model.encoder, stage)  # a damaged test video is better found before training than after it
        measured = model.head.combiner.score
        learnt = learn_stage(model, classes, inputs, recipe, new_trainer(stage))
        check_numbers(model, stage.index)
        del inputs  # from here on only the model's tensors remain of the stage's videos
        # If the definition of familiarity has changed, earlier thresholds are meaningless.
        alike = model.head.combiner.score == measured
        lows = [*lows, learnt.threshold] if alike else [learnt.threshold] * stage.index
        spec = unknown_spec(model, recipe.unknown, lows)
        known, strange = stages[: stage.index], stages[stage.index :] if spec else ()
        yield Finished(
            stage=stage,
            model=model,
            curves=learnt.curves,
            doubts=learnt.doubts,
            thresholds=tuple(lows),
            unknown=spec,
            known=predict(model, _tests(clips, model, known), temperature=recipe.contrast.temperature),
            strange=predict(model, _tests(clips, model, strange), temperature=recipe.contrast.temperature),
        )


def _tests(clips: ClipSource, model: StPR, stages: Sequence[Stage]) -> dict[int, StageInputs]:
    found = {stage.index: clips.test(model.encoder, stage) for stage in stages}
    return {index: inputs for index, inputs in found.items() if inputs is not None}


class _Revisited:
    """Provides the clips of all stages so far, for a method that keeps old videos."""

    def __init__(self, clips: ClipSource) -> None:
        self.clips = clips
        self.parts: list[Inputs] = []

    def upto(self, stage: Stage, stages: Sequence[Stage], model: StPR) -> tuple[tuple[str, ...], StageInputs]:
        """The classes of all stages up to `stage`, and their clips."""
        sofar = stages[: stage.index]
        self.parts += [self.clips.train(model.encoder, one) for one in sofar[len(self.parts) :]]
        return tuple(name for one in sofar for name in one.classes), all_stages(self.parts)
