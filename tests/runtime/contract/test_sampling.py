from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stpr.runtime.contract.errors import ContractError
from stpr.runtime.contract.sampling import ClipSpec, centre_frames, random_frames

totals, counts = st.integers(1, 400), st.integers(1, 40)


@given(total=totals, count=counts)
def test_centres_are_in_range_and_never_go_back(total: int, count: int) -> None:
    chosen = centre_frames(total, count)
    assert len(chosen) == count
    assert 0 <= chosen[0] <= chosen[-1] < total
    steps = np.diff(chosen)
    assert (steps >= 0).all()
    assert total < count or (steps > 0).all()


@given(total=totals, count=counts)
def test_centres_are_mirror_symmetric_to_one_frame(total: int, count: int) -> None:
    chosen = np.array(centre_frames(total, count))
    assert np.abs((total - 1 - chosen[::-1]) - chosen).max() <= 1


def test_centres_of_parts_worked_by_hand() -> None:
    assert centre_frames(32, 8) == [2, 6, 10, 14, 18, 22, 26, 30]
    assert centre_frames(3, 6) == [0, 0, 1, 1, 2, 2]


@given(total=totals, count=counts, seed=st.integers(0, 2**32 - 1))
def test_random_frames_come_one_from_each_part(total: int, count: int, seed: int) -> None:
    chosen = random_frames(total, count, np.random.default_rng(seed))
    assert chosen == sorted(chosen)
    for part, frame in enumerate(chosen):
        start = part * total // count
        assert start <= frame < max(start + 1, (part + 1) * total // count)


@given(total=totals, count=counts, seed=st.integers(0, 2**32 - 1))
def test_random_frames_repeat_with_their_seed(total: int, count: int, seed: int) -> None:
    first, second = (random_frames(total, count, np.random.default_rng(seed)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(("total", "count"), [(0, 8), (8, 0), (-1, 1)])
def test_nothing_to_choose_is_an_error(total: int, count: int) -> None:
    with pytest.raises(ContractError, match=f"got {total} and {count}"):
        centre_frames(total, count)
    with pytest.raises(ContractError, match=f"got {total} and {count}"):
        random_frames(total, count, np.random.default_rng(0))


@pytest.mark.parametrize(("frames", "span"), [(0, 1.0), (4, 0.0), (4, -1.0), (4, float("nan"))])
def test_clip_without_frames_or_duration_is_refused(frames: int, span: float) -> None:
    with pytest.raises(ContractError, match=r"needs frames >= 1 and span_seconds > 0"):
        ClipSpec(frames=frames, span_seconds=span)
