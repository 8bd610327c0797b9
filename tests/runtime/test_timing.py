from __future__ import annotations

import numpy as np
import pytest

from stpr.runtime.timing import KEPT_LATENCIES, Timing


@pytest.mark.parametrize("frames", [2, 10, 1000])
def test_n_frames_make_n_minus_1_intervals(frames: int) -> None:
    timing = Timing()
    for index in range(frames):
        timing.saw_frame(100 + index / 20)
    assert timing.frames == frames
    assert timing.fps == pytest.approx(20)
    assert timing.recent_fps == pytest.approx(20)


def test_the_recent_rate_follows_and_the_whole_runs_does_not() -> None:
    timing = Timing()
    for index in range(100):
        timing.saw_frame(index * 1.0)
    for index in range(40):
        timing.saw_frame(99 + (index + 1) * 0.1)
    assert timing.recent_fps == pytest.approx(10)
    assert timing.fps == pytest.approx(139 / 103)


def test_before_anything_happened_there_is_no_rate() -> None:
    timing = Timing()
    assert (timing.fps, timing.recent_fps, timing.latency_ms()) == (0, 0, None)
    timing.saw_frame(1.0)
    assert (timing.fps, timing.recent_fps) == (0, 0)


def test_percentiles_are_those_of_the_last_predictions() -> None:
    timing = Timing()
    latencies = np.random.default_rng(0).exponential(5.0, 3 * KEPT_LATENCIES)
    for latency in latencies:
        timing.predicted(float(latency))
    assert timing.predictions == len(latencies)
    assert timing.latency_ms() == pytest.approx(np.percentile(latencies[-KEPT_LATENCIES:], (50, 95, 99)))
