"""The inputs of a stage: frozen features that are encoded once, or pixels that are decoded again every epoch.

If nothing before the adapters trains, each draw of a clip is encoded once and kept in memory until the stage ends; only
the optional cache keeps features on disk. Otherwise pixels are decoded again for every epoch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Protocol, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from stpr.runtime.contract.errors import RecipeError
from stpr.train.data.clips import Clip, load_ahead, load_draws
from stpr.train.data.pixels import PixelSpec
from stpr.train.datasets.annotations import Video
from stpr.train.learning.distributed import ALONE, Processes
from stpr.train.settings.learning import SamplingSettings

FEW: Final = 64  # clips to learn axes of channels from; each has several frames with dozens of positions
Item = TypeVar("Item")


class StageInputs(Protocol):
    """Clips of one stage with their labels, sorted by class in learning order."""

    @property
    def labels(self) -> Tensor:
        """`(n,)`, class indices in learning order."""

    @property
    def recordings(self) -> Tensor:
        """`(n,)`, the index of the recording that each clip was cut from; a recording's clips are in their order."""

    @property
    def processes(self) -> Processes:
        """The processes that divide the clips; `join` gathers their results."""

    def epoch(self, number: int, *, batch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this process's share of shuffled batches with labels, one random draw per clip."""

    def centre(self, *, batch: int) -> Iterator[Tensor]:
        """Yield batches of the centre views of this process's share, in order."""

    def draws(self) -> Sequence[Tensor]:
        """Each random draw of all clips `(n, T, …)`; raises RecipeError if draws are not kept."""

    def take(self, rows: Tensor) -> StageInputs:
        """Select the clips that are marked in the mask `rows` `(n,)`, in order."""


def shuffled(count: int, *, seed: int) -> Tensor:
    """A permutation that depends only on the seed."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def spaced(clips: Sequence[Item]) -> Sequence[Item]:
    """Evenly spaced clips, at most `FEW`."""
    return clips[:: max(1, -(-len(clips) // FEW))]


class FrozenFeatures:
    """Frozen features `(n, draws + 1, T, F)`: the centre view first, then the random draws."""

    def __init__(
        self, features: Tensor, labels: Tensor, processes: Processes = ALONE, recordings: Tensor | None = None
    ) -> None:
        self.features = features
        self.labels = labels
        self.recordings = torch.zeros_like(labels) if recordings is None else recordings
        self.background: Tensor | None = None  # (m, T, F), windows of the background videos if there are any
        self.processes = processes

    def epoch(self, number: int, *, batch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield shuffled batches; each clip cycles through its draws, with a different start than its neighbour."""
        draws = self.features.shape[1] - 1
        order = shuffled(len(self.labels), seed=seed)
        for whole in torch.split(order, batch):
            rows = self.processes.share(whole)
            draw = 1 + (rows + number) % draws if draws else torch.zeros_like(rows)
            yield self.features[rows, draw], self.labels[rows]

    def centre(self, *, batch: int) -> Iterator[Tensor]:
        """Yield batches of the centre views."""
        yield from torch.split(self.processes.share(self.features[:, 0]), batch)

    def draws(self) -> Sequence[Tensor]:
        """Each random draw of all clips `(n, T, F)`."""
        return self.features[:, 1:].unbind(dim=1)

    def take(self, rows: Tensor) -> FrozenFeatures:
        """See `StageInputs`."""
        part = copy.copy(self)
        part.features, part.labels, part.recordings = self.features[rows], self.labels[rows], self.recordings[rows]
        return part


@dataclass(eq=False)
class PixelClips:
    """Clips as pixels `(T, *spec.shape)` uint8, decoded when they are asked for."""

    videos: Sequence[Video]
    labels: Tensor
    _: KW_ONLY
    spec: PixelSpec
    sampling: SamplingSettings
    seed: int
    processes: Processes = ALONE

    @property
    def recordings(self) -> Tensor:
        """See `StageInputs`."""
        numbers: dict[str, int] = {}
        return torch.tensor([numbers.setdefault(video.recording, len(numbers)) for video in self.videos])

    def epoch(self, number: int, *, batch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield shuffled batches, decoding a new draw of each clip."""
        order = shuffled(len(self.labels), seed=seed)
        shares = [self.processes.share(whole) for whole in torch.split(order, batch)]

        def draw(video: Video) -> Clip:
            views = self.views(video.path, draws=1, seed=self.seed + 1 + number)
            drawn: Clip = views[1]
            return drawn

        labels = [self.labels[rows] for rows in shares]
        yield from zip(self.decoded([rows.tolist() for rows in shares], draw, len(shares)), labels, strict=True)

    def centre(self, *, batch: int) -> Iterator[Tensor]:
        """Yield batches of the centre views."""
        own = self.processes.share(range(len(self.videos)))
        batches = [own[start : start + batch] for start in range(0, len(own), batch)]
        rounds = self.processes.rounds(len(self.videos), batch)
        return self.decoded(batches, lambda video: self.views(video.path, draws=0, seed=0)[0], rounds)

    def draws(self) -> Sequence[Tensor]:
        """Raises RecipeError, since draws are decoded anew in every epoch."""
        raise RecipeError(
            '[statistics] draws = true needs features that are encoded once, but with [adapter] place = "blocks" each'
            ' epoch encodes new ones; set draws = false, or place = "feature".'
        )

    def take(self, rows: Tensor) -> PixelClips:
        """See `StageInputs`."""
        part = copy.copy(self)
        part.videos = [video for video, marked in zip(self.videos, rows.tolist(), strict=True) if marked]
        part.labels = self.labels[rows]
        return part

    def views(self, video: Path, *, draws: int, seed: int) -> Clip:
        """The centre view and `draws` random draws of a video: `(1 + draws, T, *shape)` uint8."""
        return load_draws(video, draws=draws, spec=self.spec, sampling=self.sampling, seed=seed)

    def decoded(self, batches: Sequence[Sequence[int]], load: Callable[[Video], Clip], rounds: int) -> Iterator[Tensor]:
        """Yield `load` of the videos of each batch of rows, stacked; all processes execute `rounds` rounds."""
        videos = (self.videos[row] for rows in batches for row in rows)
        clips = load_ahead(videos, load, workers=self.sampling.workers)
        stacked = (torch.from_numpy(np.stack(list(islice(clips, len(rows))))) for rows in batches)
        return self.processes.lockstep(stacked, rounds)


Inputs: TypeAlias = FrozenFeatures | PixelClips


def all_stages(parts: Sequence[Inputs]) -> Inputs:
    """Concatenate inputs of one kind and equal settings in learning order; the parts are not changed."""
    whole = copy.copy(parts[0])
    whole.labels = torch.cat([part.labels for part in parts])
    if isinstance(whole, FrozenFeatures):
        kept = [part for part in parts if isinstance(part, FrozenFeatures)]
        whole.features = torch.cat([part.features for part in kept])
        whole.recordings = torch.cat([part.recordings for part in kept])
    else:
        whole.videos = [video for part in parts if isinstance(part, PixelClips) for video in part.videos]
    return whole
