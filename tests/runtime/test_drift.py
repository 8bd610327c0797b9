"""The drift of a camera: followed, bounded whatever a stream shows, and nothing at all unless asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal

from stpr.runtime.contract.bundle import MANIFEST, PLACE, Bundle, Place, file_entry, open_bundle
from stpr.runtime.contract.errors import BundleError
from stpr.runtime.contract.manifest import manifest_bytes
from stpr.runtime.contract.preprocess import Array
from stpr.runtime.drift import FARTHEST, Drift
from stpr.runtime.recognizer import step
from stpr.runtime.session import Session
from stpr.runtime.sources import Frame, Origin
from tests.factories import FRAMES, WIDTH, make_bundle
from tests.runtime.runs import noise, recorded

ORIGIN = Origin("clip", is_live=False)
PLACED = Place(
    middle=np.arange(WIDTH, dtype=np.float32), deviation=np.array([1, 0.5, 2, 0, 1, 0][:WIDTH], dtype=np.float32)
)


def placed(folder: Path, place: Place = PLACED) -> Bundle:
    """A bundle that says where its classes lie."""
    path = make_bundle(folder)
    np.savez(path / PLACE, middle=place.middle, deviation=place.deviation)
    manifest = open_bundle(path).manifest
    manifest.files[PLACE] = file_entry(path / PLACE)
    (path / MANIFEST).write_bytes(manifest_bytes(manifest))
    return open_bundle(path)


def frames(count: int, *, seed: int = 0) -> list[Frame]:
    return [Frame(image, index, index / 8, ORIGIN) for index, image in enumerate(noise(count, seed))]


@settings(deadline=None)
@given(hnp.arrays(np.float32, (FRAMES, WIDTH), elements=st.floats(-1e6, 1e6, width=32)), st.integers(1, 2000))
def test_nothing_that_a_stream_shows_moves_a_column_further_than_its_deviation(window: Array, count: int) -> None:
    drift = Drift(PLACED, FRAMES)
    for _ in range(min(count, 50)):
        drift.see(window)
    assert (np.abs(drift.shift) <= FARTHEST * PLACED.deviation * (1 + 1e-6)).all()


def test_a_lasting_shift_is_taken_back_nearly_whole_and_a_moment_of_it_hardly() -> None:
    off = np.array([0.5, -0.25, 1, 3, 0, 3][:WIDTH], dtype=np.float32)
    drift, window = Drift(PLACED, FRAMES), np.tile(PLACED.middle + off, (FRAMES, 1))
    assert_array_equal(drift.shift, np.zeros(WIDTH))
    drift.see(window)
    assert np.abs(drift.shift).max() < 0.01
    for _ in range(1000 * FRAMES):
        drift.see(window)
    expected = np.where(PLACED.deviation > 0, off, 0)
    assert_allclose(drift.shift, expected, atol=0.22)
    assert_allclose(drift.moved_back(window[np.newaxis]), window[np.newaxis] - drift.shift)


def test_what_was_seen_long_ago_is_forgotten() -> None:
    drift, ones = Drift(PLACED, FRAMES), np.ones((FRAMES, WIDTH), np.float32)
    for sign in (1, -1):
        for _ in range(1000 * FRAMES):
            drift.see(PLACED.middle + sign * 0.4 * ones)
        assert (np.sign(drift.shift) == sign * (PLACED.deviation > 0)).all()


def test_without_asking_a_session_shows_the_model_its_window_as_it_is(tmp_path: Path) -> None:
    bundle = placed(tmp_path)
    plain, adapting = Session(recorded(bundle), ORIGIN), Session(recorded(bundle), ORIGIN, adapt=True)
    for frame in frames(64):
        step([(plain, frame)])
        step([(adapting, frame)])
    assert plain.drift is None
    assert_array_equal(plain.clips(), plain.window.as_clips())
    assert adapting.drift is not None
    assert_array_equal(adapting.clips(), adapting.window.as_clips() - adapting.drift.shift)
    assert adapting.drift.shift.any()


def test_a_newer_bundle_of_the_same_encoder_knows_the_drift_from_its_own_middle(tmp_path: Path) -> None:
    old = placed(tmp_path / "old")
    new = placed(tmp_path / "new", Place(middle=PLACED.middle + 1, deviation=PLACED.deviation))
    running = Session(recorded(old), ORIGIN, adapt=True)
    shown = frames(40)
    for frame in shown[:20]:
        step([(running, frame)])
    beside = running.beside(recorded(new), share=True)
    assert running.drift is not None
    assert beside.drift is not None
    before = running.drift.shift.copy()
    assert not np.array_equal(beside.drift.shift, before)  # from another middle
    running.adopt(beside)
    alone = Session(recorded(new), ORIGIN, adapt=True)
    for frame in shown:
        step([(alone, frame)])
    for frame in shown[20:]:
        step([(running, frame)])
    assert alone.drift is not None
    assert running.drift is not None
    assert_array_equal(running.drift.shift, alone.drift.shift)


def test_a_bundle_without_a_place_runs_as_before(tmp_path: Path) -> None:
    bundle = open_bundle(make_bundle(tmp_path))
    assert bundle.place() is None
    assert Session(recorded(bundle), ORIGIN, adapt=True).drift is None


@pytest.mark.parametrize(
    "place",
    [
        Place(middle=np.zeros(WIDTH + 1), deviation=np.zeros(WIDTH + 1)),
        Place(middle=np.full(WIDTH, np.nan), deviation=np.ones(WIDTH)),
        Place(middle=np.zeros(WIDTH), deviation=-np.ones(WIDTH)),
    ],
    ids=["width", "nan", "negative"],
)
def test_a_place_that_does_not_fit_is_refused_in_one_line(tmp_path: Path, place: Place) -> None:
    with pytest.raises(BundleError, match=rf"{PLACE} does not fit features of \[{WIDTH}\]; export the stage again"):
        placed(tmp_path, place).place()
