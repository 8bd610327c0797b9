from __future__ import annotations

from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stpr.runtime.contract.errors import ContractError
from stpr.runtime.contract.motion import SAME, SMALLEST_SIDE, MotionSpec, grey, pairs_before

RATES = [5, 8, 10, 12.5, 15, 16, 24, 25, 30, 50, 60, 120]


def spec(pairs: int = 4, side: int = 16, seconds: float = 1 / 15) -> MotionSpec:
    return MotionSpec(pairs=pairs, side=side, seconds=seconds)


@pytest.mark.parametrize("rate", RATES)
def test_at_a_constant_rate_pairs_are_so_many_frames_apart(rate: float) -> None:
    stride = max(1, round(rate / 15))
    times = [index / rate for index in range(600)]
    for at in (4 * stride, 4 * stride + 1, 299, 599):
        assert pairs_before(times, at, spec()) == [
            (at - back * stride, at - (back - 1) * stride) for back in (4, 3, 2, 1)
        ]


@pytest.mark.parametrize("start", [0.0, 1234.567, 1.7e9])
def test_of_two_equally_near_frames_the_later_is_taken_whatever_the_clock_says(start: float) -> None:
    times = [start + index / 10 for index in range(40)]
    for at in range(3, 40):
        assert pairs_before(times, at, spec(pairs=1, seconds=0.15)) == [(at - 1, at)]
        assert pairs_before(times, at, spec(pairs=1, seconds=0.25)) == [(at - 2, at)]


def test_irregular_times_worked_by_hand() -> None:
    times = [0.0, 0.05, 0.2, 0.26, 0.31, 0.5]
    # 0.5 asks for 0.4: the frame itself is none, so 0.31. 0.31 asks for 0.21: 0.2. 0.2 asks for 0.1: 0.05.
    chain = [(0, 1), (1, 2), (2, 4), (4, 5)]
    assert pairs_before(times, 5, spec(pairs=4, seconds=0.1)) == chain
    assert pairs_before(times, 5, spec(pairs=2, seconds=0.1)) == chain[2:]
    assert pairs_before(times, 5, spec(pairs=6, seconds=0.1)) == [(0, 1), (0, 1), *chain]
    assert pairs_before(times, 3, spec(pairs=2, seconds=0.1)) == [(1, 2), (2, 3)]


def test_at_the_start_the_oldest_pair_stands_in() -> None:
    times = [index / 15 for index in range(9)]
    assert pairs_before(times, 0, spec(pairs=3)) == [(0, 0)] * 3
    assert pairs_before(times, 1, spec(pairs=3)) == [(0, 1)] * 3
    assert pairs_before(times, 2, spec(pairs=3)) == [(0, 1), (0, 1), (1, 2)]
    assert pairs_before(times, 3, spec(pairs=3)) == [(0, 1), (1, 2), (2, 3)]


def nearest(times: list[float], at: int, seconds: float) -> int:
    """By trying every earlier frame; of two as good as equally near ones the later."""
    wanted = times[at] - seconds
    least = min(abs(wanted - time) for time in times[:at])
    return max(index for index in range(at) if abs(wanted - times[index]) < least + SAME)


gaps = st.lists(st.floats(1e-3, 0.5), min_size=1, max_size=40)


@given(gaps=gaps, data=st.data(), pairs=st.integers(1, 6), seconds=st.floats(0.01, 0.5))
def test_pairs_chain_back_by_the_nearest_frames_and_end_at_the_frame(
    gaps: list[float], data: st.DataObject, pairs: int, seconds: float
) -> None:
    times = list(accumulate(gaps, initial=0.0))
    at = data.draw(st.integers(1, len(gaps)))
    found = pairs_before(times, at, spec(pairs, seconds=seconds))
    assert len(found) == pairs
    assert found[-1][1] == at
    assert all(before < after for before, after in found)
    assert all(near[0] == far[1] or near == far for far, near in pairwise(found))
    assert all(before == nearest(times, after, seconds) for before, after in found)
    if found[0] in found[1:]:  # stands in: there is nothing before it
        assert found[0][0] == 0


@pytest.mark.parametrize("size", [(9, 7), (16, 16), (50, 30), (20, 300)])
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (200, 30, 90)])
def test_a_plain_picture_of_any_size_has_the_grey_of_its_colour(
    size: tuple[int, int], colour: tuple[int, int, int]
) -> None:
    found = grey(np.full((*size, 3), colour, np.uint8), spec(side=24))
    assert found.shape == (24, 24)
    assert found.dtype == np.uint8
    luma = np.dot(colour, (0.299, 0.587, 0.114))
    assert np.ptp(found) == 0
    assert found[0, 0] == pytest.approx(luma, abs=1)


def test_the_whole_frame_is_squeezed_and_keeps_its_sides() -> None:
    image = np.zeros((40, 160, 3), np.uint8)
    image[:20, :40] = 200  # the upper half of the left quarter
    found = grey(image, spec(side=16))
    wanted = np.zeros((16, 16))
    wanted[:8, :4] = 200
    np.testing.assert_allclose(found, wanted, atol=1)


@pytest.mark.parametrize(
    ("pairs", "side", "seconds"),
    [(0, 64, 0.1), (-1, 64, 0.1), (4, SMALLEST_SIDE - 1, 0.1), (4, 64, 0.0), (4, 64, float("nan"))],
)
def test_what_shows_no_motion_is_refused(pairs: int, side: int, seconds: float) -> None:
    said = rf"^motion needs pairs >= 1, side >= 16 and seconds > 0, got {pairs}, {side} and {seconds}\.$"
    with pytest.raises(ContractError, match=said):
        MotionSpec(pairs=pairs, side=side, seconds=seconds)
    assert MotionSpec(pairs=1, side=SMALLEST_SIDE, seconds=1e-3)
