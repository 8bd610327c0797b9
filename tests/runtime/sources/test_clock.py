from __future__ import annotations

import numpy as np
import pytest

from stpr.runtime.sources.clock import DRIFT, PAUSE, Clock, Pace

PERIOD = 0.1


def test_a_frame_is_as_old_as_it_came_late() -> None:
    clock = Clock()
    seen = [clock.seen_at(100 + index * PERIOD + late, index * PERIOD) for index, late in enumerate([0.3, 0, 0.5, 2])]
    assert seen[0] == pytest.approx(100.3)  # nothing more is known of the first
    assert seen[1:] == pytest.approx([100.1, 100.2, 100.3], abs=3 * DRIFT)


def test_times_never_run_backwards_whatever_the_network_does() -> None:
    clock = Clock()
    arrivals = [0.0, 0.5, 0.51, 0.52, 0.53, 0.54, 1.0, 1.01, 3.0, 3.01]
    seen = [clock.seen_at(at, index * PERIOD) for index, at in enumerate(arrivals)]
    assert seen == sorted(seen)
    assert all(one <= at for one, at in zip(seen, arrivals, strict=True))


@pytest.mark.parametrize("own", [[5, 5, 5], [5, 4, 3], [0, 0, 0], [5, 5000, 10_000]], ids=str)
def test_a_clock_that_tells_nothing_leaves_the_arrival(own: list[float]) -> None:
    clock = Clock()
    assert [clock.seen_at(10 + index, at) for index, at in enumerate(own)] == [10, 11, 12]


def test_what_the_decoder_holds_back_is_older() -> None:
    clock = Clock(held=3)
    seen = [clock.seen_at(100 + index * PERIOD, index * PERIOD) for index in range(5)]
    assert seen[4] == pytest.approx(100.4 - 3 * PERIOD, abs=4 * DRIFT)


def test_clocks_that_part_slowly_are_followed() -> None:
    clock = Clock()
    parting = DRIFT / 2
    for second in range(100_000):
        seen = clock.seen_at(second * (1 + parting), second)
    assert second * (1 + parting) - seen < 0.01


def test_the_present_begins_where_frames_come_at_their_own_pace() -> None:
    clock, paced = Clock(), []
    for index in range(20):
        arrived = 0.01 * index if index < 10 else 0.09 + (index - 9) * PERIOD
        clock.seen_at(arrived, index * PERIOD)
        paced.append(clock.is_paced)
    assert not any(paced[:11])
    assert all(paced[13:])


def test_a_long_wait_is_the_present_too() -> None:
    clock = Clock()
    clock.seen_at(0.0, 0.0)
    clock.seen_at(0.01, PERIOD)
    assert not clock.is_paced
    clock.seen_at(0.5, 5 * PERIOD)
    assert clock.is_paced


def paced(arrivals: list[float]) -> list[float]:
    pace = Pace()
    seen = [pace.seen_at(at) for at in arrivals]
    assert seen == sorted(seen)
    assert all(one <= at for one, at in zip(seen, arrivals, strict=True))
    return seen


@pytest.mark.parametrize(("size", "every", "apart"), [(8, 0.5, 0.0), (15, 0.5, 0.002), (8, 0.5, 0.02), (4, 0.2, 0.005)])
def test_the_frames_of_bursts_are_seen_evenly(size: int, every: float, apart: float) -> None:
    arrivals = [10 + every * (index // size) + apart * (index % size) for index in range(12 * size)]
    steps = np.diff(paced(arrivals)[4 * size :])
    assert steps == pytest.approx(every / size)


def test_frames_that_come_evenly_or_after_a_pause_are_seen_when_they_arrive() -> None:
    even = [index / 30 for index in range(100)]
    after = [even[-1] + PAUSE + 0.5 + index / 30 for index in range(100)]
    assert paced(even + after) == pytest.approx(even + after)
    rng = np.random.default_rng(0)
    uneven = [index / 30 + rng.uniform(0, 0.01) for index in range(300)]
    assert paced(uneven) == pytest.approx(uneven, abs=0.001)


def test_bursts_that_begin_and_cease_are_followed_within_three() -> None:
    even = [index / 16 for index in range(64)]
    bursts = [even[-1] + 0.5 * (1 + index // 8) for index in range(64)]
    again = [bursts[-1] + (1 + index) / 16 for index in range(64)]
    seen = paced(even + bursts + again)
    assert seen[:64] == pytest.approx(even)
    assert np.diff(seen[96:128]) == pytest.approx(1 / 16, rel=0.2)
    assert seen[131:] == pytest.approx(again[3:])
