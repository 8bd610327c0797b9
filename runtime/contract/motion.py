"""Inputs of the motion features: pairs of small grey pictures before a frame, chosen by time, not by frame count.

Training takes them from a video's frames, a live run from a short history; both choose them with this module.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from stpr.runtime.contract.errors import ContractError
from stpr.runtime.contract.preprocess import Image

SMALLEST_SIDE: Final = 16
SAME: Final = 1e-6  # seconds


class MotionSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The grey pictures that accompany an encoded frame."""

    pairs: int  # consecutive pairs, the last one ending at the frame
    side: int  # pixels; the whole frame is resized to a square
    seconds: float  # approximate time between the pictures of a pair

    def __post_init__(self) -> None:
        """Reject values that are too small."""
        if self.pairs < 1 or self.side < SMALLEST_SIDE or not self.seconds > 0:
            raise ContractError(
                f"motion needs pairs >= 1, side >= {SMALLEST_SIDE} and seconds > 0, got {self.pairs}, {self.side} and"
                f" {self.seconds}."
            )


def grey(image: Image, spec: MotionSpec) -> npt.NDArray[np.uint8]:
    """Convert a whole frame `(H, W, 3)` uint8 RGB to a small grey picture `(side, side)`."""
    shrinks = min(image.shape[:2]) >= spec.side
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    small = cv2.resize(image, (spec.side, spec.side), interpolation=method)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def pairs_before(times: Sequence[float], at: int, spec: MotionSpec) -> list[tuple[int, int]]:
    """The pairs (before, after) of frame `at` as indices into `times` (sorted, seconds); oldest pair first.

    Going back from the frame, each pair ends where the next begins. If there are too few earlier frames, the oldest
    pair is repeated; the first frame is its own predecessor.
    """
    pairs: list[tuple[int, int]] = []
    after = at
    while len(pairs) < spec.pairs and after > 0:
        before = _predecessor(times, after, spec.seconds)
        pairs.append((before, after))
        after = before
    pairs = pairs[::-1] or [(at, at)]
    return [pairs[0]] * (spec.pairs - len(pairs)) + pairs


def _predecessor(times: Sequence[float], at: int, seconds: float) -> int:
    """The earlier frame closest to `seconds` before frame `at`; the later one of two equally close."""
    wanted = times[at] - seconds
    later = min(bisect_left(times, wanted, 0, at), at - 1)
    if later > 0 and wanted - times[later - 1] < times[later] - wanted - SAME:
        return later - 1
    return later
