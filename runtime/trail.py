"""The small grey pictures of the last moments, so that an encoded frame comes with what led up to it."""

from __future__ import annotations

import numpy as np

from stpr.runtime.contract.motion import MotionSpec, grey, pairs_before
from stpr.runtime.contract.preprocess import Array, Image


class Trail:
    """What one camera showed of late: no more than the newest frame's pairs reach back to.

    The pairs of a later frame never reach back further, so nothing is dropped that will be asked for.
    """

    def __init__(self, spec: MotionSpec) -> None:
        self._spec = spec
        self._times: list[float] = []
        self._greys: list[Array] = []
        self._pairs: list[tuple[int, int]] = []

    def see(self, image: Image, captured_at: float) -> None:
        """Take in a frame `(H, W, 3)` uint8: every frame of the camera, in order."""
        self._times.append(captured_at)
        self._greys.append(grey(image, self._spec))
        self._pairs = pairs_before(self._times, len(self._times) - 1, self._spec)
        passed = self._pairs[0][0]
        del self._times[:passed], self._greys[:passed]
        self._pairs = [(before - passed, after - passed) for before, after in self._pairs]

    def pairs(self) -> Array:
        """The pairs up to the newest frame: `(K, 2, side, side)` uint8."""
        return np.stack([np.stack([self._greys[before], self._greys[after]]) for before, after in self._pairs])

    def follow(self, other: Trail) -> None:
        """Remember what another of the same kind does: from here on both give the same pairs."""
        self._times, self._greys, self._pairs = [*other._times], [*other._greys], [*other._pairs]

    def reset(self) -> None:
        """Forget everything: the next frame follows none of these."""
        self._times, self._greys, self._pairs = [], [], []

    def __len__(self) -> int:
        """How many pictures are kept."""
        return len(self._greys)
