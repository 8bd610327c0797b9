"""The live clip: the frame features of the last span of time, whatever the camera's rate.

Time since the first frame is cut into slots one period long, and the middle of each asks for a frame, as training asks
for the middle of each part of a video (`sampling.centre_frames`). Only those frames are encoded:

    time      |----p----|----p----|----p----|----p----|
    slot           x         x         x         x         T = 4: the last four make a clip
    frames    . . . . . . . . . . . . . . . . . . . . .
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np

from stpr.runtime.contract.preprocess import Array
from stpr.runtime.contract.sampling import ClipSpec
from stpr.runtime.spans import clips_of_spans, span_slots

# Two frames of a clip lost in a row are a hole in the action. Bursts of a network stream (0.4-0.5 s) are not, even
# when the periods are short.
GAP_PERIODS, GAP_SECONDS = 2.0, 1.0
SAME_TIME = 1e-6  # seconds; a frame's time and a multiple of the period differ by rounding alone


class FeatureWindow:
    """The frame features of the last clip span, oldest first: all that a live run remembers."""

    def __init__(self, clip: ClipSpec, *, spans: Sequence[float] = (1.0,)) -> None:
        """`spans` are shares of the clip's span that actions may last, for `as_clips`."""
        self._clip = clip
        self._gap = max(GAP_PERIODS * clip.period, GAP_SECONDS)
        self._slots = tuple(dict.fromkeys((clip.frames, *span_slots(clip.frames, spans))))
        self._room = max(self._slots)
        self._features: deque[Array] = deque(maxlen=self._room)
        self._start = self._last = self._until = math.nan
        self._filled = 0  # slots since the start

    def wants(self, captured_at: float, stands: float = 0.0) -> bool:
        """Show each frame's time here, in order: does it open a slot? After a gap the window is empty again.

        `stands` is how long the frame stands, in seconds; 0 where nobody knows when the next comes. A standing frame
        also serves the slots before the next one, so a file of exactly `span_seconds` gives the very frames that
        training took. Without it, a slot takes the first frame at or after its time.
        """
        if not (self._last <= captured_at and captured_at - self._until <= self._gap):
            self.reset()
            self._start = captured_at
        self._last, self._until = captured_at, captured_at + stands
        return self._due() > self._filled

    def push(self, feature: Array, captured_at: float, stands: float = 0.0) -> None:
        """Fill all slots that are open at this time with a frame feature `(D,)`: several, when frames come slower."""
        if self.wants(captured_at, stands):
            due = self._due()
            self._features.extend([feature] * min(due - self._filled, self._room))
            self._filled = due

    @property
    def started_at(self) -> float:
        """When the frame came that the window began with; NaN before the first."""
        return self._start

    def follow(self, other: FeatureWindow) -> None:
        """Be empty, with slots at the very moments of another window of such clips: both ask for the same frames."""
        self._features.clear()
        self._start, self._last, self._until = other._start, other._last, other._until
        self._filled = other._filled

    def is_full(self) -> bool:
        """Whether the last span of time is covered."""
        return len(self._features) >= self._clip.frames

    def as_clips(self) -> Array:
        """The window as a clip of each span `(S, T, D)`, oldest frame first and the clip's own span before the others.

        The same features, read closer together or further apart: nothing is encoded again. A longer span waits until
        it is covered. A copy, for engines may keep their buffers. Only when full.
        """
        if not self.is_full():
            raise ValueError(f"the window holds {len(self._features)} of {self._clip.frames} frame features.")
        return clips_of_spans(np.stack(self._features), self._slots, self._clip.frames)

    def reset(self) -> None:
        """Forget everything: a new scene, or the camera came back."""
        self._features.clear()
        self._start = self._last = self._until = math.nan
        self._filled = 0

    def _due(self) -> int:
        """How many slots since the start the newest frame has reached: slot i lies at (i + 0.5) periods."""
        reached = max(self._until - SAME_TIME, self._last + SAME_TIME) - self._start
        return math.ceil(reached / self._clip.period - 0.5)
