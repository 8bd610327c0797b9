"""The layout of a clip's frames in one uint8 array, from the decoder to the encoder.

Without motion a frame is its picture `(H, W, 3)`. With motion it is a flat row: the picture, then its pairs of small
grey pictures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from stpr.runtime.contract.motion import MotionSpec
from stpr.runtime.contract.preprocess import PreprocessSpec
from stpr.train.settings.learning import SamplingSettings

SIDE: Final = 64  # of a grey picture: 48 loses small movements, 80 costs half as much again without a gain
SECONDS: Final = 1 / 15  # between the pictures of a pair
Bytes = TypeVar("Bytes", npt.NDArray[np.uint8], torch.Tensor)


@dataclass(frozen=True, slots=True)
class PixelSpec:
    """What the encoder receives per frame: a picture and, with motion, pairs of grey pictures."""

    picture: PreprocessSpec
    motion: MotionSpec | None = None

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """`(H, W, 3)`."""
        return self.picture.height, self.picture.width, 3

    @property
    def greys_shape(self) -> tuple[int, ...]:
        """`(K, 2, s, s)`; `(0,)` without motion."""
        motion = self.motion
        return (motion.pairs, 2, motion.side, motion.side) if motion else (0,)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one frame's pixels, picture and greys in one array."""
        if self.motion is None:
            return self.picture_shape
        return (math.prod(self.picture_shape) + math.prod(self.greys_shape),)

    def join(self, pictures: npt.NDArray[np.uint8], greys: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Join pictures `(…, H, W, 3)` and pairs `(…, K, 2, s, s)` into `(…, *shape)`."""
        if self.motion is None:
            return pictures
        lead = pictures.shape[:-3]
        return np.concatenate([pictures.reshape(*lead, -1), greys.reshape(*lead, -1)], axis=-1)

    def split(self, pixels: Bytes) -> tuple[Bytes, Bytes | None]:
        """Split `(…, *shape)` into pictures `(…, H, W, 3)` and pairs `(…, K, 2, s, s)`, None without motion."""
        if self.motion is None:
            return pixels, None
        lead, size = pixels.shape[:-1], math.prod(self.picture_shape)
        pictures, greys = pixels[..., :size], pixels[..., size:]
        return pictures.reshape(*lead, *self.picture_shape), greys.reshape(*lead, *self.greys_shape)


def motion_of(sampling: SamplingSettings) -> MotionSpec | None:
    """The motion settings of a recipe, None without motion."""
    return MotionSpec(pairs=sampling.motion, side=SIDE, seconds=SECONDS) if sampling.motion else None
