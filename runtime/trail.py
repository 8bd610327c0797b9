"""A history of small grey pictures, from which the motion pairs of an encoded frame are taken."""

from __future__ import annotations

import numpy as np

from stpr.runtime.contract.motion import MotionSpec, grey, pairs_before
from stpr.runtime.contract.preprocess import Array, Image


class Trail:
    """The recent pictures of one camera, as far back as the newest frame's pairs need them.

    The pairs of later frames never reach further back, so no needed picture is dropped.
    """

    def __init__(self, spec: MotionSpec) -> None:
        self._spec = spec
        self._times: list[float] = []
        self._greys: list[Array] = []
        self._pairs: list[tuple[int, int]] = []

    def see(self, image: Image, captured_at: float) -> None:
        """Add a frame `(H, W, 3)` uint8; call it with every frame in order."""
        self._times.append(captured_at)
        self._greys.append(grey(image, self._spec))
        self._pairs = pairs_before(self._times, len(self._times) - 1, self._spec)
        passed = self._pairs[0][0]
        del self._times[:passed], self._greys[:passed]
        self._pairs = [(before - passed, after - passed) for before, after in self._pairs]

    def pairs(self) -> Array:
        """The pairs of the newest frame: `(K, 2, side, side)` uint8."""
        return np.stack([np.stack([self._greys[before], self._greys[after]]) for before, after in self._pairs])

    def follow(self, other: Trail) -> None:
        """Copy the history of another trail with the same settings."""
        self._times, self._greys, self._pairs = [*other._times], [*other._greys], [*other._pairs]

    def reset(self) -> None:
        """Clear the history."""
        self._times, self._greys, self._pairs = [], [], []

    def __len__(self) -> int:
        """The number of stored pictures."""
        return len(self._greys)
