"""Compensate drift: the common shift of a camera's frame features for a new person, room or season.

With `--adapt` a session takes its recent mean feature as the new mean of the classes, and shifts its clips back by the
difference. Three limits prevent harmful adaptation: no column is shifted by more than one standard deviation within a
class, few clips cause only a small shift, and motion columns are never shifted. Only one mean feature is kept, for the
duration of the session.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from stpr.runtime.contract.bundle import Place
from stpr.runtime.contract.preprocess import Array

FARTHEST: Final = 1.0  # largest shift, in standard deviations within a class
DOUBT: Final = 40.0  # weight of the classes' mean, in clips
MEMORY: Final = 150.0  # effective number of clips in the running mean


@dataclass(slots=True)
class _Seen:
    mean: Array  # (D,) float64
    clips: float = 0.0


class Drift:
    """The drift of one camera with one bundle. A clip has `frames` frames, and each window one new frame."""

    def __init__(self, place: Place, frames: int) -> None:
        self._place, self._step = place, 1 / frames
        self._seen = _Seen(np.zeros(place.middle.shape))

    @property
    def shift(self) -> Array:
        """The estimated shift of frame features `(D,)`; 0 for columns that are not shifted."""
        believed = self._seen.clips / (self._seen.clips + DOUBT)
        farthest = FARTHEST * self._place.deviation
        off = np.clip(believed * (self._seen.mean - self._place.middle), -farthest, farthest)
        return np.asarray(off, dtype=np.float32)

    def see(self, window: Array) -> None:
        """Update with the newest window of frame features `(T, D)`."""
        seen = self._seen
        seen.clips = min(seen.clips + self._step, MEMORY)
        seen.mean += self._step / seen.clips * (window.mean(axis=0) - seen.mean)

    def moved_back(self, clips: Array) -> Array:
        """Clips `(S, T, D)` with the shift subtracted."""
        return np.asarray(clips - self.shift)

    def share(self, other: Drift) -> None:
        """Share the state of another Drift of the same camera and encoder; only one of both may be updated."""
        self._seen = other._seen
