"""Random variation of a clip, as other people, places or days would change it; the same for all its frames.

It changes light, colour and sharpness; size, tilt and position (method §13.1). The within-class covariance learnt from
such draws gives less weight to directions that they vary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from stpr.runtime.contract.preprocess import Array, Image

MILD_EVERY: Final = 4  # one in this many draws varies only mildly


@dataclass(frozen=True, slots=True)
class Range:
    """The limits of random changes to a picture; factors are given as powers of e."""

    size: tuple[float, float]  # scale factor of the content
    turn: float  # degrees
    perspective: float  # fraction of the picture's side, per corner
    shift: float  # fraction of the picture's side
    gamma: float
    gain: float  # brightness, equal for all channels
    tint: float  # per channel
    hue: float  # degrees
    saturation: float
    blur: float  # share of draws that are blurred
    grey: float  # share of draws without colour


MILD: Final = Range((0.9, 1.25), 5, 0.0, 0.06, 0.2, 0.1, 0.08, 4, 0.2, 0.0, 0.0)
STRONG: Final = Range((0.65, 1.5), 20, 0.1, 0.15, 0.6, 0.3, 0.25, 12, 0.5, 0.3, 0.15)
BLUR: Final = (0.5, 1.5)  # sigma in pixels, for a picture 224 pixels high


@dataclass(frozen=True, slots=True)
class Variation:
    """One random draw: new positions of the picture's corners (fractions of its sides) and changes of its colours."""

    corners: npt.NDArray[np.float64]  # (4, 2)
    colours: npt.NDArray[np.uint8]  # (256, 3): lookup table per channel
    hue: int  # steps of 1/256 of the circle
    saturation: float
    blur: float
    grey: bool

    def apply(self, image: Image) -> Image:
        """Apply the draw to a picture `(H, W, 3)` uint8; uncovered borders are filled by reflection."""
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
    """Draw the variation of a clip's draw with index `number`, from 0."""
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
