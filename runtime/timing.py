"""Measure a run's speed in bounded memory: counts over the whole run, percentiles over the last 4,096 predictions."""

from __future__ import annotations

from collections import deque

import numpy as np

KEPT_LATENCIES = 4096
KEPT_FRAMES = 33  # the current rate is over the last 32 intervals


class Timing:
    """Counts frames, encodings and predictions of one run."""

    def __init__(self) -> None:
        self.frames = 0
        self.encoded = 0
        self.predictions = 0
        self._first = 0.0
        self._recent: deque[float] = deque(maxlen=KEPT_FRAMES)
        self._latencies: deque[float] = deque(maxlen=KEPT_LATENCIES)

    def saw_frame(self, now: float) -> None:
        """Count a frame processed at monotonic time `now`."""
        if not self.frames:
            self._first = now
        self.frames += 1
        self._recent.append(now)

    def predicted(self, latency_ms: float) -> None:
        """Count a prediction and its latency."""
        self.predictions += 1
        self._latencies.append(latency_ms)

    @property
    def fps(self) -> float:
        """Frames per second over the whole run (n frames have n - 1 intervals)."""
        return _rate(self.frames, self._recent[-1] - self._first) if self._recent else 0.0

    @property
    def recent_fps(self) -> float:
        """Current frames per second."""
        return _rate(len(self._recent), self._recent[-1] - self._recent[0]) if self._recent else 0.0

    def latency_ms(self) -> tuple[float, float, float] | None:
        """The 50th, 95th and 99th percentile of recent latencies; None before the first prediction."""
        if not self._latencies:
            return None
        p50, p95, p99 = np.percentile(np.array(self._latencies), (50, 95, 99))
        return float(p50), float(p95), float(p99)


def _rate(frames: int, seconds: float) -> float:
    return (frames - 1) / seconds if seconds > 0 else 0.0
