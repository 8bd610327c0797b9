"""What class scores are learnt from."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Samples(NamedTuple):
    """Views of a stage's clips: of each clip one or several."""

    features: Tensor  # (m, T, D) frame features
    labels: Tensor  # (m,) from 0 within the stage
    clips: Tensor  # (m,) which clip each is a view of, from 0
    weights: Tensor | None = None  # (m,) how much each counts; None: all alike


def joined(parts: list[Samples]) -> Samples:
    """Samples of different clips together, all weighted or none."""
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
