from __future__ import annotations

import msgspec
import numpy as np
import pytest

from stpr.runtime.canvas import stage_colour
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.decision import BundleId, Prediction
from stpr.runtime.events import Start
from stpr.runtime.result import Result
from stpr.runtime.sinks.overlay import ACCENT, RIGHT, SMALLEST_SIDE, WRONG, Overlay
from stpr.runtime.sources import Frame, Origin

BUNDLE = BundleId(name="toy", stage=3, digest="0" * 64)


def make_prediction(stages: int = 3, label: str = "wave", score: float = 0.75, best: int = 2) -> Prediction:
    routing = {str(stage): 0.9 if stage == best else 0.1 for stage in range(1, stages + 1)}
    top = ((label, score), ("jump", 0.2), ("a class with a very long name indeed, longer than any card is wide", 0.05))
    return Prediction(
        time="2026-01-01T00:00:00.000+00:00",
        frame=7,
        label=label,
        score=score,
        top=top,
        routing=routing,
        state="known",
        latency_ms=12.0,
        bundle=BUNDLE,
        source="camera 0",
    )


def draw(image: Image, prediction: Prediction | None, *, truth: str | None, fps: float) -> Image:
    """The picture of a source's first result."""
    frame = Frame(image, 0, 0.0, Origin("camera 0", is_live=True))
    return Overlay().draw(Result(frame, prediction, fps, truth=truth, latest=prediction))


def has(picture: Image, colour: tuple[int, int, int]) -> int:
    """How many pixels have just this colour."""
    return int((picture == np.array(colour)).all(axis=2).sum())


@pytest.mark.parametrize("size", [(96, 96), (97, 131), (240, 320), (320, 240), (480, 640), (1080, 1920), (2, 2)])
@pytest.mark.parametrize("stages", [1, 5, 50])
def test_pictures_of_any_size_are_legible_and_even(size: tuple[int, int], stages: int) -> None:
    image = np.full((*size, 3), 120, np.uint8)
    picture = draw(image, make_prediction(stages, best=1), truth="wave", fps=30)
    height, width = picture.shape[:2]
    assert min(height, width) >= min(SMALLEST_SIDE, 480)
    assert height % 2 == width % 2 == 0
    assert height / width == pytest.approx(size[0] / size[1], rel=0.03)
    assert (image == 120).all()
    assert has(picture, ACCENT) > 100


def test_a_frame_that_is_large_enough_keeps_its_pixels_outside_the_cards() -> None:
    image = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    picture = draw(image, make_prediction(), truth=None, fps=30)
    assert np.array_equal(picture[:, 620:], image[:, 620:])
    assert np.array_equal(picture[200:400], image[200:400])
    assert not np.array_equal(picture, image)


@pytest.mark.parametrize(
    ("truth", "right", "wrong"), [("wave", True, False), ("jump", False, True), (None, False, False)]
)
def test_a_known_truth_is_marked_right_or_wrong(truth: str | None, *, right: bool, wrong: bool) -> None:
    picture = draw(np.zeros((480, 480, 3), np.uint8), make_prediction(), truth=truth, fps=30)
    assert (has(picture, RIGHT) > 50) == right
    assert (has(picture, WRONG) > 50) == wrong


def test_the_winning_stage_has_the_highest_bar_in_its_colour() -> None:
    """The coloured column moves with the stage that wins."""
    columns = []
    for best in (1, 2, 3):
        picture = draw(np.zeros((480, 480, 3), np.uint8), make_prediction(best=best), truth=None, fps=30)
        right = (picture[390:450, 270:] == np.array(stage_colour(best))).all(axis=2)
        columns.append(np.flatnonzero(right.sum(axis=0) > 36).mean())
    assert columns[0] < columns[1] < columns[2]


def test_before_the_first_prediction_there_is_only_the_upper_card() -> None:
    image = np.full((480, 480, 3), 90, np.uint8)
    picture = draw(image, None, truth=None, fps=0)
    assert (picture[100:] == 90).all()
    assert (picture[:80] != 90).any()


def test_what_is_unknown_is_neither_right_nor_wrong_and_nothing_is_accented() -> None:
    image = np.zeros((480, 480, 3), np.uint8)
    known = make_prediction()
    unknown = msgspec.structs.replace(known, label=None, score=0.0, state="unknown")
    waiting = msgspec.structs.replace(unknown, top=(), routing={}, state="warming_up")
    pictures = [draw(image, one, truth="jump", fps=30) for one in (known, unknown, waiting)]
    assert has(pictures[1], RIGHT) < 50 > has(pictures[1], WRONG)
    assert has(pictures[1][:, 20:], ACCENT) == has(pictures[1], stage_colour(2)) == 0
    assert min(has(pictures[0][:, 20:], ACCENT), has(pictures[0], stage_colour(2))) > 500
    assert not np.array_equal(pictures[1][:80], pictures[2][:80])


def test_no_score_stands_beside_unknown() -> None:
    """Scores are shares among the known classes: of what is unknown, one of them has nearly all."""
    image = np.zeros((480, 480, 3), np.uint8)
    sure, split = (
        msgspec.structs.replace(make_prediction(score=score), label=None, score=0.0, state="unknown")
        for score in (1.0, 0.4)
    )
    assert np.array_equal(draw(image, sure, truth=None, fps=30), draw(image, split, truth=None, fps=30))
    likest = msgspec.structs.replace(sure, top=(("jump", 1.0), *sure.top[1:]))
    pictures = [draw(image, one, truth=None, fps=30) for one in (sure, likest)]
    assert not np.array_equal(pictures[0][40:80], pictures[1][40:80])  # what it is most like is said


def test_events_add_a_strip_over_the_whole_width_and_bundles_without_them_have_none() -> None:
    image = np.full((480, 800, 3), 90, np.uint8)
    silent, telling = make_prediction(), msgspec.structs.replace(make_prediction(), evidence=-3.0)
    assert (draw(image, silent, truth=None, fps=30)[:, 480:] == 90).all()
    picture = draw(image, telling, truth=None, fps=30)
    assert (picture[420:460, 480:780] != 90).any(axis=2).all()
    assert (picture[:400, 480:] == 90).all()
    assert has(picture, stage_colour(3)) == 0


def test_an_overlay_remembers_what_went_on_before() -> None:
    image, overlay = np.zeros((480, 480, 3), np.uint8), Overlay()
    prediction = msgspec.structs.replace(make_prediction(), evidence=2.0)
    start = Start(id=1, label="turn", stage=3, score=0.9, frame=7, time=prediction.time, peak_frame=7, peak_time="")
    source = Origin("camera 0", is_live=True)
    overlay.draw(Result(Frame(image, 7, 100.0, source), prediction, 30.0, events=(start,), latest=prediction))
    later = msgspec.structs.replace(prediction, time="2026-01-01T00:00:10.000+00:00")
    picture = overlay.draw(Result(Frame(image, 107, 110.0, source), None, 30.0, latest=later))
    columns = np.flatnonzero((picture[440:455] == np.array(stage_colour(3))).all(axis=2).any(axis=0))
    assert columns.max() - columns.min() == pytest.approx((480 - 48) / 3, abs=4)  # ten of thirty seconds, up to now
    assert columns.max() == pytest.approx(480 - 24, abs=2)


def test_negative_weights_are_empty_columns() -> None:
    plain = draw(np.zeros((480, 480, 3), np.uint8), make_prediction(), truth=None, fps=30)
    negative = make_prediction()
    negative.routing.update({"1": -0.5, "2": -0.1, "3": -0.9})
    picture = draw(np.zeros((480, 480, 3), np.uint8), negative, truth=None, fps=30)
    assert picture.shape == plain.shape
