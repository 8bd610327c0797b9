from __future__ import annotations

import logging

import msgspec
import numpy as np
import pytest

from stpr.runtime.contract.preprocess import Image
from stpr.runtime.decision import State
from stpr.runtime.events import EventSettings
from stpr.runtime.filters.events import Events
from stpr.runtime.filters.watchdog import Watchdog
from stpr.runtime.result import Result
from stpr.runtime.sources.frame import Frame, Origin
from tests.factories import make_manifest
from tests.runtime.sinks.results import make_result

CAMERA, FILE = Origin("door", is_live=True), Origin("door.mp4", is_live=False)
RNG = np.random.default_rng(0)
SCENE = RNG.integers(0, 256, (120, 160, 3), dtype=np.uint8)
FPS = 10.0


def moving(index: int) -> Image:
    """A still room in which something of a hundredth of the picture moves."""
    image = SCENE.copy()
    image[50:62, (7 * index) % 140 : (7 * index) % 140 + 16] = 255
    return image


def watched(
    images: list[Image], *, watchdog: Watchdog | None = None, origin: Origin = CAMERA, fps: float = FPS
) -> list[Result]:
    watchdog = watchdog or Watchdog(make_manifest())
    prediction = make_result(0).prediction
    assert prediction is not None
    return [
        watchdog(Result(Frame(image, index, 100 + index / fps, origin), prediction, fps))
        for index, image in enumerate(images)
    ]


def states(results: list[Result]) -> list[State]:
    assert all(result.prediction is not None for result in results)
    return [result.prediction.state for result in results if result.prediction is not None]


def fill(colour: tuple[int, int, int], share: float) -> Image:
    image = SCENE.copy()
    image[round((1 - share) * len(image)) :] = colour
    return image


@pytest.mark.parametrize(
    ("bad", "state", "after"),
    [
        (SCENE, "frozen", 10.0),
        (np.clip(SCENE.astype(int) + RNG.integers(-1, 2, SCENE.shape), 0, 255).astype(np.uint8), "frozen", 10.0),
        (np.full_like(SCENE, 3), "black", 1.0),
        (fill((128, 128, 128), 0.5), "damaged", 0.5),
        (fill((0, 135, 0), 0.5), "damaged", 0.5),
    ],
    ids=["same bytes", "almost", "black", "grey blocks", "green blocks"],
)
def test_nothing_is_decided_from_a_picture_that_shows_nothing(bad: Image, state: State, after: float) -> None:
    before, long = 20, round((after + 3) * FPS)
    results = watched([moving(index) for index in range(before)] + [bad] * long + [moving(k) for k in range(30)])
    said = states(results)
    first = said.index(state)
    assert first == pytest.approx(before + after * FPS, abs=1)
    span = round(make_manifest().clip.span_seconds * FPS)
    last = before + long + span
    assert said == ["known"] * first + [state] * (last - first) + ["known"] * (len(said) - last)
    for result in results[first:last]:
        assert result.prediction is not None
        assert (result.prediction.label, result.prediction.score, result.prediction.top) == (None, 0.0, ())


def test_what_moves_a_little_is_no_frozen_picture_and_what_is_dark_in_part_is_not_black() -> None:
    dark = [np.where(moving(index) == 255, 200, 3).astype(np.uint8) for index in range(150)]
    for images in ([moving(index) for index in range(150)], dark, [fill((128, 128, 128), 0.3)] * 20):
        assert set(states(watched(images))) == {"known"}


def test_a_file_may_stand_still() -> None:
    assert set(states(watched([SCENE] * 300, origin=FILE))) == {"known"}


def test_frames_that_come_too_seldom_are_said_with_what_is_needed(caplog: pytest.LogCaptureFixture) -> None:
    results = watched([moving(index) for index in range(30)], fps=0.5)
    assert states(results)[8:] == ["slow"] * 22
    assert [record.getMessage() for record in caplog.records] == [
        "door gives a frame every 2.0 s; this bundle needs one every 0.5 s, so nothing is decided."
    ]


def test_bursts_are_not_slow() -> None:
    watchdog = Watchdog(make_manifest())
    prediction = make_result(0).prediction
    for index in range(100):
        at = 100 + index // 8 * 0.5
        result = watchdog(Result(Frame(moving(index), index, at, CAMERA), prediction, FPS))
        assert result.prediction is prediction


def test_a_picture_that_comes_and_goes_is_a_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    black = np.zeros_like(SCENE)
    with caplog.at_level(logging.WARNING):
        watched([black if index // 30 % 2 else moving(index) for index in range(1200)])
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "the picture of door is black; nothing is decided until it is not."
    assert len(said) <= 3


def test_what_lasts_is_said_as_soon_as_there_may_be_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """Black twice for a moment, and then frozen for good, all within a minute; much later it moves again."""
    black = np.zeros_like(SCENE)
    images = [black if index // 30 % 2 else moving(index) for index in range(120)] + [SCENE] * 1080
    watchdog = Watchdog(make_manifest())
    watched(images, watchdog=watchdog)
    first, second = (record.getMessage() for record in caplog.records)
    assert first == "the picture of door is black; nothing is decided until it is not."
    assert second == "the picture of door is frozen; nothing is decided until it is not."
    caplog.clear()
    prediction = make_result(0).prediction
    for index in range(1200, 1300):
        watchdog(Result(Frame(moving(index), index, 100 + index / FPS, CAMERA), prediction, FPS))
    assert [record.getMessage() for record in caplog.records] == ["the picture of door is no longer frozen."]


def test_what_was_said_of_a_camera_is_taken_back_after_a_reconnect(caplog: pytest.LogCaptureFixture) -> None:
    watchdog, prediction = Watchdog(make_manifest()), make_result(0).prediction
    watched([SCENE] * 150, watchdog=watchdog)
    for index in range(150, 900):
        frame = Frame(moving(index), index, 100 + index / FPS, CAMERA, connection=1)
        assert watchdog(Result(frame, prediction, FPS)).prediction is prediction
    assert [record.getMessage() for record in caplog.records] == [
        "the picture of door is frozen; nothing is decided until it is not.",
        "the picture of door is no longer frozen.",
    ]


def test_a_reconnect_is_a_new_picture() -> None:
    watchdog = Watchdog(make_manifest())
    prediction = make_result(0).prediction
    assert states(watched([SCENE] * 150, watchdog=watchdog))[-1] == "frozen"
    result = watchdog(Result(Frame(SCENE, 150, 116.0, CAMERA, connection=1), prediction, FPS))
    assert result.prediction is prediction


def test_what_was_going_on_ends_with_the_picture() -> None:
    """An event is open when the picture freezes: its end is said, and no other begins."""
    manifest = make_manifest()
    events, watchdog = Events(manifest, EventSettings(wait=0.0)), Watchdog(manifest)
    prediction = make_result(0).prediction
    assert prediction is not None
    loud = msgspec.structs.replace(prediction, evidence=5.0, state="known")
    told = []
    for index in range(200):
        image = moving(index) if index < 30 else SCENE
        result = events(watchdog(Result(Frame(image, index, 100 + index / FPS, CAMERA), loud, FPS)))
        told += [(index, event.__class__.__name__, event.source) for event in result.events]
    assert told[0][1:] == ("Start", "door")
    assert told[-1][1:] == ("End", "door")
    assert told[-1][0] == pytest.approx(130, abs=12)
