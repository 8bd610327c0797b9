"""When the frames of a stream were really seen: their own times, set by the promptest of them.

    arrival    |   |   | ||||  |   |        a reader that was held up and then reads what waited
    own time   |   |   |   |   |   |        says when each was taken, but on a clock that began anywhere

The frame that came soonest after its own time tells how the two clocks stand to each other; every later one is as much
older as it came later.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from typing import Final

DRIFT: Final = 2e-4  # seconds a second by which two clocks may part
PACE: Final = 0.9  # frames that come in less than this share of their own time waited somewhere
PACED_FRAMES: Final = 4
LONG_WAIT: Final = 0.25  # seconds without a frame: nothing waited
RECENT: Final = 32  # frames whose mean rate is the camera's
QUICK: Final = 0.5  # a frame that comes within this share of the mean interval waited for the one before it
BURSTS: Final = 3  # as large as they are in the middle is the next one taken to be
PAUSE: Final = 1.0  # seconds without a frame that are a pause and no burst on its way


class Clock:
    """The clock of one connection, in seconds."""

    def __init__(self, *, held: int = 0) -> None:
        """`held` frames are always in the decoder when one comes out of it, and each is older by as many periods."""
        self._held = held
        self._recent: deque[tuple[float, float]] = deque(maxlen=PACED_FRAMES)  # arrival, own time
        self._ahead = math.inf  # of the own time, as the promptest frame had it

    def seen_at(self, arrived: float, own: float) -> float:
        """When a frame was seen that arrived at a monotonic time; frames come in order, and so do the answers.

        A clock that stands still or runs backwards tells nothing: such a frame counts as seen when it arrived.
        """
        if self._recent and own <= self._recent[-1][1]:
            self.restart()
        elif self._recent:
            self._ahead += DRIFT * (arrived - self._recent[-1][0])
        self._recent.append((arrived, own))
        self._ahead = min(self._ahead, arrived - own)
        return self._ahead + own - self._held * self._period()

    def restart(self) -> None:
        """Forget what was: the next frame counts as seen when it arrives."""
        self._recent.clear()
        self._ahead = math.inf

    @property
    def is_paced(self) -> bool:
        """Whether the last frames came no faster than they were taken: what waited somewhere has been read."""
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
    """When frames were seen that have no time of their own: those of a burst, evenly since the burst before.

    arrival    |||||             |||||             |||||        as over a wireless network
    seen           |   |   |   |   |   |   |   |   |   |

    Frames that come evenly, or after a pause, count as seen when they arrive; in seconds, as all here.
    """

    def __init__(self) -> None:
        self._arrived: deque[float] = deque(maxlen=RECENT)
        self._sizes: deque[int] = deque(maxlen=BURSTS)
        self._size = 0  # of the burst that arrives, so far
        self._begun = self._seen = -math.inf  # when its first frame came, and the last one was seen
        self._period = 0.0  # between two frames of it

    def seen_at(self, arrived: float) -> float:
        """When a frame was seen that arrived at a monotonic time; frames come in order, and so do the answers."""
        gap = arrived - self._arrived[-1] if self._arrived else math.inf
        if gap >= min(self._period, QUICK * self._mean()):  # it waited for nothing: a burst begins, of one or more
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
