from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stpr.runtime.contract.sampling import ClipSpec, centre_frames
from stpr.runtime.window import FeatureWindow

specs = st.builds(ClipSpec, frames=st.integers(1, 32), span_seconds=st.floats(0.3, 8.0))
rates = st.sampled_from([2.0, 5.0, 12.5, 15.0, 23.976, 25.0, 29.97, 30.0, 60.0])


def times_in(window: FeatureWindow) -> list[float]:
    return [float(value) for value in window.as_clips()[0, :, 0]]


def feature(captured_at: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """A feature that tells when its frame was captured."""
    return np.array([captured_at])


@given(total=st.integers(1, 300), count=st.integers(1, 40), fps=rates)
def test_a_file_as_long_as_the_span_gives_the_frames_of_training(total: int, count: int, fps: float) -> None:
    window = FeatureWindow(ClipSpec(frames=count, span_seconds=total / fps))
    for index in range(total):
        if window.wants(index / fps, 1 / fps):
            window.push(np.array([index]), index / fps, 1 / fps)
    assert times_in(window) == centre_frames(total, count)


@given(spec=specs, fps=rates, start=st.floats(0, 1e7), seconds=st.floats(0, 3))
def test_slots_are_one_period_apart_and_reach_until_now(
    spec: ClipSpec, fps: float, start: float, seconds: float
) -> None:
    window, now = FeatureWindow(spec), start
    for index in range(round((spec.span_seconds + seconds) * fps) + 2):
        now = start + index / fps
        if window.wants(now):
            window.push(feature(now), now)
    if not window.is_full():
        assert now - start < spec.span_seconds
        return
    newest = int((now - start + 2e-6) / spec.period + 0.5) - 1
    slots = [start + (newest - back + 0.5) * spec.period for back in reversed(range(spec.frames))]
    assert now - spec.period - 1e-5 <= slots[-1] <= now + 1e-5
    # Each slot holds the first frame at or after its time.
    late = np.array(times_in(window)) - np.array(slots)
    assert late.min() >= -1e-5
    assert late.max() < 1 / fps + 1e-5


@given(spec=specs, gaps=st.lists(st.floats(0.001, 0.9), min_size=1, max_size=200))
def test_it_holds_the_tail_of_all_that_was_pushed(spec: ClipSpec, gaps: list[float]) -> None:
    window = FeatureWindow(spec)
    now, pushed = 0.0, list[float]()
    for gap in [0.0, *gaps]:
        now += gap
        if window.wants(now):
            opened = int((now + 1e-6) / spec.period + 0.5) - len(pushed)
            window.push(feature(now), now)
            pushed += [now] * opened
    assert window.is_full() == (len(pushed) >= spec.frames)
    if window.is_full():
        assert times_in(window) == pushed[-spec.frames :]


@given(spec=specs, fps=st.sampled_from([(15.0, 30.0), (10.0, 60.0), (12.5, 25.0)]))
def test_the_cameras_rate_does_not_change_the_speed_of_the_scene(spec: ClipSpec, fps: tuple[float, float]) -> None:
    seen = []
    for rate in fps:
        window = FeatureWindow(spec)
        for index in range(round(10 * rate)):
            if window.wants(index / rate, 1 / rate):
                window.push(feature(index / rate), index / rate, 1 / rate)
        seen.append(np.array(times_in(window)))
    assert np.abs(seen[0] - seen[1]).max() <= 1 / fps[0] + 1e-9


def test_only_frames_that_open_a_slot_are_wanted() -> None:
    window = FeatureWindow(ClipSpec(frames=4, span_seconds=1.0))
    wanted = []
    for index in range(30):
        if window.wants(index / 30):
            window.push(feature(index / 30), index / 30)
            wanted.append(index)
    assert wanted == [4, 12, 19, 27]  # the first at or after 1/8, 3/8, 5/8 and 7/8 of a second


def test_a_slow_camera_fills_several_slots_with_one_frame() -> None:
    window = FeatureWindow(ClipSpec(frames=4, span_seconds=1.0))
    pushes = 0
    for now in (0.0, 0.5, 1.0):
        if window.wants(now):
            window.push(feature(now), now)
            pushes += 1
    assert pushes == 2
    assert times_in(window) == [0.5, 0.5, 1.0, 1.0]


@pytest.mark.parametrize(
    ("period", "gap", "survives"),
    [(0.1, 0.95, True), (0.1, 1.05, False), (1.0, 1.9, True), (1.0, 2.1, False), (0.1, -0.01, False)],
)
def test_a_gap_empties_the_window(period: float, gap: float, *, survives: bool) -> None:
    window = FeatureWindow(ClipSpec(frames=4, span_seconds=4 * period))
    for index in range(100):
        window.push(feature(index * period / 2), index * period / 2)
    assert window.is_full()
    now = 99 * period / 2 + gap
    window.push(feature(now), now)
    assert window.is_full() == survives


def test_nothing_from_before_a_gap_is_seen_after_it() -> None:
    window = FeatureWindow(ClipSpec(frames=4, span_seconds=1.0))
    for start in (0.0, 60.0):
        for index in range(40):
            window.push(feature(start + index / 20), start + index / 20)
            assert not window.is_full() or min(times_in(window)) >= start


def test_the_clip_is_a_copy_and_needs_a_full_window() -> None:
    window = FeatureWindow(ClipSpec(frames=2, span_seconds=1.0))
    with pytest.raises(ValueError, match="holds 0 of 2"):
        window.as_clips()
    for now in (0.0, 0.3, 0.8):
        window.push(feature(now), now)
    window.as_clips()[:] = 99
    assert times_in(window) == [0.3, 0.8]
    window.reset()
    assert not window.is_full()


def test_other_spans_read_the_same_features_once_they_are_covered() -> None:
    window = FeatureWindow(ClipSpec(frames=8, span_seconds=8.0), spans=(0.875, 1.0, 1.125))
    window.wants(0.0)
    for slot in range(8):
        window.push(np.array([slot]), slot + 0.5)
    assert window.as_clips()[:, :, 0].tolist() == [[0, 1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 4, 5, 6, 7]]
    covered = list(window.spans)
    window.push(np.array([8]), 8.5)
    own, shorter, longer = window.as_clips()[:, :, 0].tolist()
    assert own == [1, 2, 3, 4, 5, 6, 7, 8]
    assert shorter == [2, 3, 4, 5, 5, 6, 7, 8]
    assert longer == [0, 1, 2, 3, 5, 6, 7, 8]
    assert (covered, [*window.spans]) == ([8.0, 7.0], [8.0, 7.0, 9.0])


def test_a_still_scene_is_a_clip_of_every_span() -> None:
    window = FeatureWindow(ClipSpec(frames=8, span_seconds=8.0), spans=(0.875, 1.0, 1.125))
    window.wants(0.0)
    for slot in range(9):
        window.push(np.zeros(1), slot + 0.5)
    assert window.as_clips().shape == (3, 8, 1)
