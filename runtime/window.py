"""The window: the frame features of the last span of time, independent of the camera's frame rate.

Time since the first frame is divided into slots of one period, and a frame is taken at the centre of each, as training
takes the centre of each segment of a video (`sampling.centre_frames`). Only these frames are encoded:

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

# Two missing frames of a clip in a row are a gap. Bursts of a network stream (0.4-0.5 s) are not, even with short
# periods.
GAP_PERIODS, GAP_SECONDS = 2.0, 1.0
SAME_TIME = 1e-6  # seconds; tolerance for rounding between a frame's time and a multiple of the period


class FeatureWindow:
    """The frame features of the last clip span, oldest first."""

    def __init__(self, clip: ClipSpec, *, spans: Sequence[float] = (1.0,)) -> None:
        """`spans`: lengths of actions relative to the clip's span, for `as_clips`."""
        self._clip = clip
        self._gap = max(GAP_PERIODS * clip.period, GAP_SECONDS)
        self._slots = tuple(dict.fromkeys((clip.frames, *span_slots(clip.frames, spans))))
        self._room = max(self._slots)
        self._features: deque[Array] = deque(maxlen=self._room)
        self._start = self._last = self._until = math.nan
        self._filled = 0  # slots since the start

    def wants(self, captured_at: float, stands: float = 0.0) -> bool:
        """Whether a frame fills a slot; call it with every frame's time in order. A gap empties the window.

        `stands`: the frame's duration in seconds, 0 if unknown. With it the frame also fills slots up to the next
        frame, so a file of exactly `span_seconds` gives the same frames as in training. Without it, a slot takes the
        first frame at or after its time.
        """
        if not (self._last <= captured_at and captured_at - self._until <= self._gap):
            self.reset()
            self._start = captured_at
        self._last, self._until = captured_at, captured_at + stands
        return self._due() > self._filled

    def push(self, feature: Array, captured_at: float, stands: float = 0.0) -> None:
        """Fill all slots due at this time with a frame feature `(D,)`; several if frames come slowly."""
        if self.wants(captured_at, stands):
            due = self._due()
            self._features.extend([feature] * min(due - self._filled, self._room))
            self._filled = due

    @property
    def started_at(self) -> float:
        """The time of the window's first frame; NaN before it."""
        return self._start

    def follow(self, other: FeatureWindow) -> None:
        """Empty the window and align its slots with another window's, so that both want the same frames."""
        self._features.clear()
        self._start, self._last, self._until = other._start, other._last, other._until
        self._filled = other._filled

    def is_full(self) -> bool:
        """Whether all slots are filled."""
        return len(self._features) >= self._clip.frames

    def as_clips(self) -> Array:
        """The window as clips of several spans `(S, T, D)`, oldest frame first, the clip's own span first.

        The same features are sampled more or less densely, without encoding again. Longer spans are left out until
        they are covered. Returns a copy, since engines may keep their inputs. Only if full.
        """
        if not self.is_full():
            raise ValueError(f"the window holds {len(self._features)} of {self._clip.frames} frame features.")
        return clips_of_spans(np.stack(self._features), self._slots, self._clip.frames)

    @property
    def spans(self) -> tuple[float, ...]:
        """The seconds that each of `as_clips` covers."""
        return tuple(count * self._clip.period for count in self._slots if count <= len(self._features))

    def reset(self) -> None:
        """Empty the window, after a change of scene or a reconnect."""
        self._features.clear()
        self._start = self._last = self._until = math.nan
        self._filled = 0

    def _due(self) -> int:
        """The number of slots since the start that the newest frame has reached; slot i is at (i + 0.5) periods."""
        reached = max(self._until - SAME_TIME, self._last + SAME_TIME) - self._start
        return math.ceil(reached / self._clip.period - 0.5)
