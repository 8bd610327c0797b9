"""Another person, room or season moves all that a camera shows by about the same: the drift of its frame features.

With `--adapt` a session takes the mean of what it saw lately for where the middle of the classes has gone, and moves
its clips back by the difference. Three bounds keep a stream from teaching nonsense: no column of a feature moves by
more than a deviation of the clips of one class, of few clips little is believed, and only columns of how things look
move, never those of motion. What is kept is one mean frame feature, for as long as the session lasts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from stpr.runtime.contract.bundle import Place
from stpr.runtime.contract.preprocess import Array

FARTHEST: Final = 1.0  # deviations of the clips of one class
DOUBT: Final = 40.0  # clips that the middle of the classes counts as
MEMORY: Final = 150.0  # clips that the mean remembers


@dataclass(slots=True)
class _Seen:
    mean: Array  # (D,) float64
    clips: float = 0.0


class Drift:
    """The drift of one camera under one bundle. A clip has `frames` frames, and a window one new one."""

    def __init__(self, place: Place, frames: int) -> None:
        self._place, self._step = place, 1 / frames
        self._seen = _Seen(np.zeros(place.middle.shape))

    @property
    def shift(self) -> Array:
        """By how much frame features `(D,)` lie off; 0 where columns do not move."""
        believed = self._seen.clips / (self._seen.clips + DOUBT)
        farthest = FARTHEST * self._place.deviation
        off = np.clip(believed * (self._seen.mean - self._place.middle), -farthest, farthest)
        return np.asarray(off, dtype=np.float32)

    def see(self, window: Array) -> None:
        """Take in the newest window of frame features `(T, D)`."""
        seen = self._seen
        seen.clips = min(seen.clips + self._step, MEMORY)
        seen.mean += self._step / seen.clips * (window.mean(axis=0) - seen.mean)

    def moved_back(self, clips: Array) -> Array:
        """Clips `(S, T, D)` as they would be without the drift."""
        return np.asarray(clips - self.shift)

    def share(self, other: Drift) -> None:
        """Know what another one of the same camera and encoder saw and will see; only one of both is shown windows."""
        self._seen = other._seen
