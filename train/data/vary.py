"""What another person, place or day changes in a picture, drawn at random: the same for all frames of a clip.

Light, colour and sharpness; size, tilt and place of what is seen (method §13.1). The within-class covariance that is
learnt from such draws discounts what they vary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from stpr.runtime.contract.preprocess import Array, Image

MILD_EVERY: Final = 4  # of so many draws one varies little


@dataclass(frozen=True, slots=True)
class Range:
    """How far a random draw may change a picture; factors are powers of e."""

    size: tuple[float, float]  # of what is seen, as a factor
    turn: float  # degrees
    perspective: float  # of the picture's side, for each corner
    shift: float  # of the picture's side
    gamma: float
    gain: float  # of all channels together
    tint: float  # of each channel
    hue: float  # degrees
    saturation: float
    blur: float  # share of draws that are blurred
    grey: float  # share of draws without colour


MILD: Final = Range((0.9, 1.25), 5, 0.0, 0.06, 0.2, 0.1, 0.08, 4, 0.2, 0.0, 0.0)
STRONG: Final = Range((0.65, 1.5), 20, 0.1, 0.15, 0.6, 0.3, 0.25, 12, 0.5, 0.3, 0.15)
BLUR: Final = (0.5, 1.5)  # pixels of a picture 224 high


@dataclass(frozen=True, slots=True)
class Variation:
    """One draw: where the picture's corners go, as parts of its sides, and what becomes of its colours."""

    corners: npt.NDArray[np.float64]  # (4, 2)
    colours: npt.NDArray[np.uint8]  # (256, 3): what each value of each channel becomes
    hue: int  # steps of 1/256 of the circle
    saturation: float
    blur: float
    grey: bool

    def apply(self, image: Image) -> Image:
        """A picture `(H, W, 3)` uint8 as this draw shows it; what comes into view at the borders is mirrored."""
        height, width = image.shape[:2]
        place = cv2.getPerspectiveTransform(_pixels(CORNERS, height, width), _pixels(self.corners, height, width))
        image = _as_image(cv2.warpPerspective(image, place, (width, height), borderMode=cv2.BORDER_REFLECT_101))
        image = _as_image(cv2.LUT(image, self.colours[np.newaxis]))
        image = self._recoloured(image)
        if self.blur:
            image = _as_image(cv2.GaussianBlur(image, (0, 0), self.blur * min(height, width) / 224))
        return image

    def _recoloured(self, image: Image) -> Image:
        if self.grey:
            return _as_image(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
        hsv[..., 0] += np.uint8(self.hue % 256)  # wraps around, as hues do
        levels = np.clip(np.rint(np.arange(256) * self.saturation), 0, 255).astype(np.uint8)
        hsv[..., 1] = cv2.LUT(hsv[..., 1], levels)
        return _as_image(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL))


CORNERS: Final = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])


def draw_variation(number: int, rng: np.random.Generator) -> Variation:
    """The variation of a clip's draw of that number, from 0."""
    far = MILD if number % MILD_EVERY == 0 else STRONG
    angle, size = math.radians(rng.uniform(-far.turn, far.turn)), math.exp(rng.uniform(*np.log(far.size)))
    turn = size * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    moved = rng.uniform(-far.shift, far.shift, 2) + rng.uniform(-far.perspective, far.perspective, (4, 2))
    gamma, gain = math.exp(rng.uniform(-far.gamma, far.gamma)), rng.uniform(-far.gain, far.gain)
    gains = np.exp(gain + rng.uniform(-far.tint, far.tint, 3))
    colours = np.clip((np.arange(256)[:, np.newaxis] / 255) ** gamma * gains, 0, 1) * 255
    return Variation(
        corners=CORNERS @ turn.T + moved,
        colours=np.rint(colours).astype(np.uint8),
        hue=round(rng.uniform(-far.hue, far.hue) * 256 / 360),
        saturation=math.exp(rng.uniform(-far.saturation, far.saturation)),
        blur=rng.uniform(*BLUR) if rng.random() < far.blur else 0.0,
        grey=bool(rng.random() < far.grey),
    )


def _pixels(parts: npt.NDArray[np.float64], height: int, width: int) -> npt.NDArray[np.float32]:
    return ((parts + 0.5) * [width, height]).astype(np.float32)


def _as_image(found: Array) -> Image:
    return np.asarray(found, dtype=np.uint8)
