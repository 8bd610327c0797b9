from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stpr.runtime.contract.motion import MotionSpec, grey, pairs_before
from stpr.runtime.trail import Trail
from tests.runtime.runs import noise

SPEC = MotionSpec(pairs=4, side=16, seconds=1 / 15)
IMAGES = noise(60)
GREYS = [grey(image, SPEC) for image in IMAGES]
specs = st.builds(MotionSpec, pairs=st.integers(1, 5), side=st.just(16), seconds=st.floats(0.02, 0.4))


@settings(deadline=None)
@given(spec=specs, gaps=st.lists(st.floats(0.0, 0.3), min_size=1, max_size=59), start=st.sampled_from([0.0, 1.7e9]))
def test_it_shows_what_the_whole_history_would(spec: MotionSpec, gaps: list[float], start: float) -> None:
    """At any rate and jitter, although it forgets."""
    trail, times = Trail(spec), list(accumulate(gaps, initial=start))
    for at, captured_at in enumerate(times):
        trail.see(IMAGES[at], captured_at)
        wanted = [[GREYS[end] for end in pair] for pair in pairs_before(times, at, spec)]
        np.testing.assert_array_equal(trail.pairs(), wanted)


@pytest.mark.parametrize("rate", [5, 15, 16, 25, 30, 60, 120])
def test_it_keeps_no_more_than_the_newest_pairs_reach_back_to(rate: float) -> None:
    trail, stride = Trail(SPEC), max(1, round(rate / 15))
    for index in range(round(10 * rate)):
        trail.see(IMAGES[index % len(IMAGES)], 1e6 + index / rate)
        assert len(trail) == min(index, SPEC.pairs * stride) + 1
    assert trail.pairs().shape == (4, 2, 16, 16)
    assert trail.pairs().dtype == np.uint8


def test_after_a_reset_the_next_frame_follows_none() -> None:
    trail = Trail(SPEC)
    for index in range(9):
        trail.see(IMAGES[index], index / 15)
    trail.reset()
    assert len(trail) == 0
    trail.see(IMAGES[9], 9 / 15)
    np.testing.assert_array_equal(trail.pairs(), np.broadcast_to(GREYS[9], (4, 2, 16, 16)))
