"""Estimate the capture times of a stream's frames from their timestamps and arrival times.

    arrival    |   |   | ||||  |   |        a reader that was delayed and then reads a backlog
    timestamp  |   |   |   |   |   |        capture times, on a clock with an unknown offset

The frame with the smallest delay between timestamp and arrival gives the offset of the two clocks; every other frame's
age is its additional delay.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from typing import Final

DRIFT: Final = 2e-4  # drift between two clocks, in seconds per second
PACE: Final = 0.9  # frames that arrive in less than this share of their timestamps' span come from a backlog
PACED_FRAMES: Final = 4
LONG_WAIT: Final = 0.25  # seconds without a frame, after which there is no backlog
RECENT: Final = 32  # frames over which the camera's rate is averaged
QUICK: Final = 0.5  # a frame within this share of the mean interval belongs to the same burst
BURSTS: Final = 3  # number of bursts whose median size predicts the next
PAUSE: Final = 1.0  # seconds without a frame that are a pause, not a burst under way


class Clock:
    """The clock of one connection, in seconds."""

    def __init__(self, *, held: int = 0, drift: float = DRIFT) -> None:
        """`held`: frames always inside the decoder, which make each output older by as many frame periods.

        `drift`: seconds per second that are allowed for the two clocks.
        """
        self._held, self._drift = held, drift
        self._recent: deque[tuple[float, float]] = deque(maxlen=PACED_FRAMES)  # arrival, timestamp
        self._ahead = math.inf  # offset by the frame with the smallest delay

    def seen_at(self, arrived: float, own: float) -> float:
        """The capture time (monotonic) of a frame that arrived at `arrived`; results never decrease.

        If the timestamp stands still or goes backwards, the arrival time is returned.
        """
        if self._recent and own <= self._recent[-1][1]:
            self.restart()
        elif self._recent:
            self._ahead += self._drift * (arrived - self._recent[-1][0])
        self._recent.append((arrived, own))
        self._ahead = min(self._ahead, arrived - own)
        return self._ahead + own - self._held * self._period()

    def restart(self) -> None:
        """Reset; the next frame's capture time is its arrival."""
        self._recent.clear()
        self._ahead = math.inf

    @property
    def is_paced(self) -> bool:
        """Whether the last frames arrived in real time, so the backlog has been read."""
        if len(self._recent) < 2:
            return False
        (first, first_own), (before, _), (last, last_own) = self._recent[0], self._recent[-2], self._recent[-1]
        whole = len(self._recent) == PACED_FRAMES and last - first >= PACE * (last_own - first_own)
        return whole or last - before >= LONG_WAIT

    def _period(self) -> float:
        if len(self._recent) < 2:
            return 0.0
        return (self._recent[-1][1] - self._recent[0][1]) / (len(self._recent) - 1)


class Pace:
    """Estimate capture times of frames without timestamps: those of a burst are spread evenly since the last burst.

    arrival    |||||             |||||             |||||        as over a wireless network
    captured       |   |   |   |   |   |   |   |   |   |

    Frames that arrive evenly, or after a pause, are captured when they arrive. All times are in seconds.
    """

    def __init__(self) -> None:
        self._arrived: deque[float] = deque(maxlen=RECENT)
        self._sizes: deque[int] = deque(maxlen=BURSTS)
        self._size = 0  # frames of the current burst so far
        self._begun = self._seen = -math.inf  # arrival of its first frame, capture of its last
        self._period = 0.0  # between two of its frames

    def seen_at(self, arrived: float) -> float:
        """The capture time (monotonic) of a frame that arrived at `arrived`; results never decrease."""
        gap = arrived - self._arrived[-1] if self._arrived else math.inf
        if gap >= min(self._period, QUICK * self._mean()):  # the first frame of a burst
            self._sizes.append(self._size)
            before, self._begun, self._size = self._begun, arrived, 0
            if gap < PAUSE:
                self._period = (arrived - before) / max(1, statistics.median(self._sizes))
                self._seen = max(self._seen, before)
            else:
                self._period, self._seen = 0.0, arrived
                self._arrived.clear()
        self._size += 1
        self._arrived.append(arrived)
        self._seen = min(arrived, self._seen + self._period)
        return self._seen

    def _mean(self) -> float:
        if len(self._arrived) < 2:
            return 0.0
        return (self._arrived[-1] - self._arrived[0]) / (len(self._arrived) - 1)
