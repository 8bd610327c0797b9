"""The clips of several stages as if they were one: for methods that keep old videos, to learn all stages anew."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from stpr.train.data.inputs import FrozenFeatures, PixelClips


def all_stages(parts: Sequence[FrozenFeatures | PixelClips]) -> FrozenFeatures | PixelClips:
    """Inputs of one kind and the same settings, put together in learning order; the parts stay as they are."""
    whole = copy.copy(parts[0])
    whole.labels = torch.cat([part.labels for part in parts])
    if isinstance(whole, FrozenFeatures):
        whole.features = torch.cat([part.features for part in parts if isinstance(part, FrozenFeatures)])
    else:
        whole.videos = [video for part in parts if isinstance(part, PixelClips) for video in part.videos]
    return whole
