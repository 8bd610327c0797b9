"""What class scores are learnt from."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Samples(NamedTuple):
    """Views of a stage's clips: of each clip one or several, all counted alike."""

    features: Tensor  # (m, T, D) frame features
    labels: Tensor  # (m,) from 0 within the stage
    clips: Tensor  # (m,) which clip each is a view of, from 0


def joined(parts: list[Samples]) -> Samples:
    """Samples of different clips together."""
    offset, clips = 0, []
    for part in parts:
        clips.append(part.clips + offset)
        offset += int(part.clips.max()) + 1
    features, labels, _ = zip(*parts, strict=True)
    return Samples(torch.cat(features), torch.cat(labels), torch.cat(clips))
