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


def joined(parts: list[Samples]) -> Samples:
    """Concatenate samples of different clips; all must have weights, or none."""
    offset, clips = 0, []
    for part in parts:
        clips.append(part.clips + offset)
        offset += int(part.clips.max()) + 1
    weights = [part.weights for part in parts if part.weights is not None]
    return Samples(
        torch.cat([part.features for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat(clips),
        torch.cat(weights) if weights else None,
    )
