"""Count the work of a run by driving the real protocol with a tiny network and clips of noise.

The counts do not depend on the widths of the network, and whatever a method requests of its clips is counted at the
request, so a new method needs no code here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn

from stpr.train.data.stages import Stage
from stpr.train.datasets.annotations import Video
from stpr.train.estimate.network import WIDTH, counting_backbone
from stpr.train.learning.fit import Criterion, Terms
from stpr.train.learning.inputs import FrozenFeatures, Inputs, PixelClips, spaced
from stpr.train.learning.stage_clips import StageClips
from stpr.train.methods import method_of
from stpr.train.methods.build import build_model
from stpr.train.model.encoder import FrameEncoder
from stpr.train.model.stpr import StPR
from stpr.train.run.protocol import Plan, learn_stages
from stpr.train.settings.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Clips:
    """Numbers of training and test videos of a stage."""

    train: int
    test: int


@dataclass(frozen=True, slots=True)
class Work:
    """Counts: videos decoded, frames encoded without gradient, clips seen in training steps."""

    decoded: int = 0
    encoded: int = 0
    learnt: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, times: int) -> Work:
        return Work(*(times * count for count in astuple(self)))


@dataclass(slots=True)
class Counter:
    """The work counted so far."""

    work: Work = field(default_factory=Work)

    def add(self, **counts: int) -> None:
        """Add to the fields of `Work`."""
        self.work += Work(**counts)


def work_of(recipe: Recipe, stages: Sequence[Stage], clips: Sequence[Clips], *, behind: int, last: int) -> list[Work]:
    """The work of each stage from `behind` + 1 to `last`; work before the first stage is in `preparation`."""
    counter, small = Counter(), _small(recipe)

    def build() -> StPR:
        before = counter.work
        model = build_model(small, counting_backbone(lambda frames: counter.add(encoded=frames)))
        counter.work = before  # building the backbone runs its network once
        return model

    torch.manual_seed(0)
    model, method, done = build(), method_of(recipe), []
    for stage in stages[:behind]:
        method.grow(model, len(stage.classes))
    plan = Plan(small, tuple(stages), last, build)
    source = _CountedSource(small, stages, clips, counter)
    source.axes_to_learn = bool(recipe.backbone.correlations) and (not behind or method.keeps_videos)
    for _ in learn_stages(plan, model, source, lambda stage: _CountedTraining(plan, stage, counter), [None] * behind):
        done.append(counter.work)
        counter.work = Work()
    return done


def _small(recipe: Recipe) -> Recipe:
    """The recipe with all widths small: it requests the same clips equally often."""
    change = msgspec.structs.replace
    kind, views = recipe.class_vectors.kind, recipe.statistics
    inner, motion = change(views.inner, parts=(), views=1), change(views.motion, parts=())
    return change(
        recipe,
        backbone=change(recipe.backbone, projection=_narrow(recipe.backbone.projection), inner="none", correlations=()),
        sampling=change(recipe.sampling, motion=0),
        statistics=change(
            views,
            parts=("mean",),
            inner=inner,
            motion=motion,
            rhythm=False,
            affine=False,
            near=False,
            mirror=False,
            concentration=1.0,
        ),
        adapter=change(recipe.adapter, bottleneck=1),
        expert=change(recipe.expert, layers=1, heads=1, mlp_ratio=1, width=_narrow(recipe.expert.width)),
        class_vectors=change(recipe.class_vectors, kind="prototypes" if kind == "prototypes" else "codes"),
        ranpac=change(recipe.ranpac, projection=WIDTH),
    )


def _narrow(width: int | str) -> int:
    """A small width; "auto" may be unresolved here if the network's form is unknown."""
    return min(width, WIDTH) if isinstance(width, int) else 0


class _NumberedClips(PixelClips):
    """Clips of noise, counted instead of decoded."""

    def __init__(self, recipe: Recipe, labels: Tensor, encoder: FrameEncoder, counter: Counter) -> None:
        nobody = [Video(Path(), "", "train")] * len(labels)
        super().__init__(nobody, labels, spec=encoder.pixels, sampling=recipe.sampling, seed=0)
        self.counter = counter

    def decoded(self, batches: Sequence[Sequence[int]], load: object, rounds: int) -> Iterator[Tensor]:
        """Yield a batch of noise for each batch of rows."""
        del load, rounds
        for rows in batches:
            self.counter.add(decoded=len(rows))
            yield torch.randint(256, (len(rows), self.sampling.frames, *self.spec.shape), dtype=torch.uint8)


class _CountedSource:
    """Counted clips of each stage; as with videos, test clips are encoded once if nothing before the head trains."""

    def __init__(self, recipe: Recipe, stages: Sequence[Stage], clips: Sequence[Clips], counter: Counter) -> None:
        self.recipe, self.clips, self.counter = recipe, clips, counter
        self.sizes = [len(stage.classes) for stage in stages]
        self.tests: dict[int, Inputs] = {}
        self.axes_to_learn = False

    def train(self, encoder: FrameEncoder, stage: Stage) -> Inputs:
        """See `ClipSource`."""
        return self._inputs(encoder, stage, self.clips[stage.index - 1].train, self.recipe.sampling.draws)

    def test(self, encoder: FrameEncoder, stage: Stage) -> Inputs | None:
        """See `ClipSource`."""
        count = self.clips[stage.index - 1].test
        if stage.index not in self.tests and count:
            self.tests[stage.index] = self._inputs(encoder, stage, count, 0)
        return self.tests.get(stage.index)

    def _inputs(self, encoder: FrameEncoder, stage: Stage, count: int, draws: int) -> Inputs:
        earlier = sum(self.sizes[: stage.index - 1])
        labels, frames = earlier + torch.arange(count) % len(stage.classes), self.recipe.sampling.frames
        if self.axes_to_learn:
            seen = len(spaced(range(count)))
            self.counter.add(decoded=seen, encoded=seen * frames)
            self.axes_to_learn = False
        if encoder.upstream_trains:
            return _NumberedClips(self.recipe, labels, encoder, self.counter)
        self.counter.add(decoded=count, encoded=count * (1 + draws) * frames)
        return FrozenFeatures(torch.randn(count, 1 + draws, frames, WIDTH), labels)


class _CountedTraining:
    """A trainer without steps: it evaluates the criterion on one clip and counts that for all clips of all epochs."""

    def __init__(self, plan: Plan, stage: Stage, counter: Counter) -> None:
        self.counter, self.seed, self.epochs = counter, stage.index, plan.epochs(stage)

    def fit(self, criterion: Criterion, clips: StageClips) -> list[Terms]:
        """See `Trainer.fit`."""
        before, self.counter.work = self.counter.work, Work()
        batch, labels = next(clips.inputs.epoch(0, batch=1, seed=0))
        criterion(batch, labels)
        self.counter.add(learnt=1)
        self.counter.work = before + self.counter.work * (len(clips.inputs.labels) * self.epochs)
        for module in criterion.modules():  # for methods that go through all clips after the steps, as EWC does
            if isinstance(module, Criterion):
                module.register_forward_hook(self._learnt)
        clips.centre.encoder_changed()
        return []

    def _learnt(self, module: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        del module, output
        self.counter.add(learnt=len(inputs[0]))
