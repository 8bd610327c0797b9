"""The source of a run's clips: an interface, and its implementation for video files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from stpr.train.data.cache import FeatureCache
from stpr.train.data.stages import Stage, check_videos
from stpr.train.datasets.annotations import Split, Video
from stpr.train.learning.distributed import Processes
from stpr.train.learning.encode import encode_frozen, learn_axes
from stpr.train.learning.frozen_pass import frozen_pass
from stpr.train.learning.inputs import Inputs, PixelClips
from stpr.train.model.encoder import FrameEncoder
from stpr.train.run.background import Background, background_of
from stpr.train.run.learnt import Learnt
from stpr.train.run.progress import Progress
from stpr.train.settings.recipe import Recipe


class ClipSource(Protocol):
    """Provides the clips of each stage; if nothing before the adapters trains, test clips are encoded once per run."""

    def train(self, encoder: FrameEncoder, stage: Stage) -> Inputs:
        """The stage's training clips; the source keeps no reference, so the caller can free them."""

    def test(self, encoder: FrameEncoder, stage: Stage) -> Inputs | None:
        """The stage's test clips; None without any."""


@dataclass(slots=True)
class VideoClips:
    """A ClipSource that reads video files; `order` lists all classes in learning order."""

    recipe: Recipe
    videos: Sequence[Video]
    order: Sequence[str]
    processes: Processes
    progress: Progress
    cache: FeatureCache | None = None
    span: float = 1.0  # seconds of a typical training clip
    learnt: Learnt = field(default_factory=Learnt)  # clips that were trained on, in earlier sessions too
    background: Background | None = field(init=False)
    _tests: dict[int, Inputs] = field(default_factory=dict)
    _axes: list[Tensor] = field(default_factory=list)  # learnt from the first clips that are asked for
    _noted: str = ""

    def __post_init__(self) -> None:
        """Find the background videos. Raises RecipeError or DataError if they can't be used."""
        self.background = background_of(self.recipe, self.span, self.cache)

    def of(self, stage: Stage, split: Split) -> list[Video]:
        """The stage's videos of a split, sorted by path (clip2 before clip10)."""
        return [video for video in self.videos if video.split == split and video.label in stage.classes]

    def train(self, encoder: FrameEncoder, stage: Stage) -> Inputs:
        """See `ClipSource`. Raises DataError for a class without a training video."""
        check_videos([stage], self.videos, splits=("train",))
        inputs = self._inputs(encoder, stage, "train")
        with self.processes.together():
            if self.processes.is_main:  # now, since after training a file that is gone would cost the stage
                self.learnt.add(self.of(stage, "train"), self.cache, workers=self.recipe.sampling.workers)
        return inputs

    def test(self, encoder: FrameEncoder, stage: Stage) -> Inputs | None:
        """See `ClipSource`."""
        if stage.index not in self._tests and self.of(stage, "test"):
            self._tests[stage.index] = self._inputs(encoder, stage, "test")
        return self._tests.get(stage.index)

    def _inputs(self, encoder: FrameEncoder, stage: Stage, split: Split) -> Inputs:
        videos, places = self.of(stage, split), {name: place for place, name in enumerate(self.order)}
        labels = torch.tensor([places[video.label] for video in videos])
        sampling, seed = self.recipe.sampling, self.recipe.seed
        clips = PixelClips(videos, labels, spec=encoder.pixels, sampling=sampling, seed=seed, processes=self.processes)
        self._fit_axes(encoder, clips)
        if encoder.upstream_trains:
            return clips
        what, quick = f"stage {stage.index} {split}", frozen_pass(encoder)

        def advance(done: int) -> None:
            if quick.note != self._noted:
                self._noted = quick.note
                self.progress.note(quick.note)
            self.progress.encoding(what, done, len(videos))

        encoded = encode_frozen(
            clips,
            encoder,
            draws=sampling.draws if split == "train" else 0,
            advance=advance,
            cache=self.cache,
        )
        if split == "train" and self.background is not None:
            encoded.background = self.background.encoded(encoder, sampling, self.progress)
        return encoded

    def _fit_axes(self, encoder: FrameEncoder, clips: PixelClips) -> None:
        """Give an encoder without axes those of the run's first clips: a method may begin each stage with a new one."""
        axes = encoder.backbone.axes
        if any(each.any() for each in axes):
            return
        if axes and not self._axes:
            learn_axes(encoder, clips, lambda done, count: self.progress.encoding("axes of channels", done, count))
            self._axes = [each.clone() for each in axes]
        for empty, learnt in zip(axes, self._axes, strict=True):
            empty.copy_(learnt)
