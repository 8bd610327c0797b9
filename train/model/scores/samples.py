"""The training data of class scores."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Samples(NamedTuple):
    """Views of a stage's clips, one or several per clip."""

    features: Tensor  # (m, T, D) frame features
    labels: Tensor  # (m,) from 0 within the stage
    clips: Tensor  # (m,) index of the clip that each is a view of
    weights: Tensor | None = None  # (m,) weight of each; None: equal
    drawn: Tensor | None = None  # (m,) whether each is a random draw; None: none is
    recordings: Tensor | None = None  # (m,) index of the recording that each clip was cut from; None: not known

    @property
    def centre(self) -> Tensor:
        """Which of the samples are centre views: `(m,)`."""
        return torch.ones_like(self.labels, dtype=torch.bool) if self.drawn is None else ~self.drawn

    def of(self, rows: Tensor) -> Samples:
        """The samples in `rows`, a mask `(m,)`, with equal weights."""
        recordings = None if self.recordings is None else self.recordings[rows]
        return Samples(self.features[rows], self.labels[rows], self.clips[rows], recordings=recordings)


def joined(parts: list[Samples]) -> Samples:
    """Concatenate samples of different clips; all must have weights and recordings, or none."""
    offset, clips = 0, []
    for part in parts:
        clips.append(part.clips + offset)
        offset += int(part.clips.max()) + 1
    weights = [part.weights for part in parts if part.weights is not None]
    recordings = [part.recordings for part in parts if part.recordings is not None]
    drawn = torch.cat([~part.centre for part in parts])
    return Samples(
        torch.cat([part.features for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat(clips),
        torch.cat(weights) if weights else None,
        drawn if drawn.any() else None,
        torch.cat(recordings) if recordings else None,
    )
