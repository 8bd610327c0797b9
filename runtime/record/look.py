"""Check the quality of a clip: brightness, sharpness and movement, with warnings if it is unsuitable for training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from stpr.runtime.contract.preprocess import Array
from stpr.runtime.sources.frame import Frame

# Chosen on clips of hands and the embedded motions, and on darkened, blurred and frozen versions of them.
DARK, GLARING = 12.0, 90.0  # mean, per cent of white
BLURRED = 0.55  # per cent of white, see `_sharpness`
STILL = 0.5  # per cent of white, see `look`; above the noise of a still picture
WIDTH: Final = 320  # size at which sharpness is measured, so that it does not depend on the resolution
SMALL: Final = (32, 24)  # size at which movement is measured, so that sensor noise averages out
LIVELIEST: Final = 98.0  # percentile of the changes over the picture that counts as movement, since people may be small
APART: Final = 0.15  # minimum seconds between two pictures that are compared


@dataclass(frozen=True, slots=True)
class Look:
    """Measurements of a clip; brightness, sharpness and movement in per cent of white."""

    frames: int
    seconds: float
    width: int
    height: int
    brightness: float
    sharpness: float
    movement: float

    @property
    def doubts(self) -> list[str]:
        """Warnings if the clip is unsuitable for training, each with a fix."""
        found = []
        if self.brightness < DARK:
            found.append("dark: add light")
        if self.brightness > GLARING:
            found.append("glaring: less light, or lower the exposure")
        if self.sharpness < BLURRED and self.brightness >= DARK:
            found.append("blurred: focus, clean the lens, or come closer")
        if self.movement < STILL:
            found.append("hardly anything moves: is the action in the picture?")
        return found

    def __str__(self) -> str:
        summary = (
            f"{self.frames} frames, {self.seconds:.1f} s, {self.width}x{self.height}; brightness"
            f" {self.brightness:.0f} %, sharpness {self.sharpness:.1f} %, movement {self.movement:.1f} %"
        )
        return "; ".join([summary, *self.doubts])


class Looker:
    """Measures the frames of a clip as they come; keeps only small pictures."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._small: list[Array] = []
        self._brightness: list[float] = []
        self._sharpness: list[float] = []
        self._size = (0, 0)

    def see(self, frame: Frame) -> None:
        """The next frame."""
        grey = np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY))
        self._size = (grey.shape[1], grey.shape[0])
        self._times.append(frame.captured_at)
        self._brightness.append(float(grey.mean()) / 2.55)
        self._sharpness.append(_sharpness(grey))
        self._small.append(np.asarray(cv2.resize(grey, SMALL, interpolation=cv2.INTER_AREA), np.float32))

    def look(self) -> Look:
        """The measurements: median sharpness, and movement as the mean change of the most active spots in APART."""
        lasted = self._times[-1] - self._times[0]
        period = lasted / max(1, len(self._times) - 1)
        return Look(
            len(self._times),
            lasted + period,
            *self._size,
            float(np.mean(self._brightness)),
            float(np.median(self._sharpness)),
            self._movement(),
        )

    def _movement(self) -> float:
        changes, before = [], 0
        for index, at in enumerate(self._times):
            if at - self._times[before] >= APART:
                change = np.abs(self._small[index] - self._small[before])
                changes.append(float(np.percentile(change, LIVELIEST)) / 2.55)
                before = index
        return float(np.mean(changes)) if changes else 0.0


def _sharpness(grey: Array) -> float:
    """Mean absolute Laplacian, in per cent of white."""
    scale = min(1.0, WIDTH / grey.shape[1])
    scaled = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return float(np.abs(cv2.Laplacian(scaled, cv2.CV_32F)).mean()) / 2.55
