from __future__ import annotations

import msgspec
import numpy as np
import pytest

from stpr.runtime.contract.preprocess import Image
from stpr.runtime.decision import BundleId, Prediction
from stpr.runtime.sinks.overlay import ACCENT, RIGHT, SMALLEST_SIDE, WRONG, draw

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


def test_the_winning_stage_has_the_highest_bar() -> None:
    """The accent-coloured column moves with the stage that wins."""
    columns = []
    for best in (1, 2, 3):
        picture = draw(np.zeros((480, 480, 3), np.uint8), make_prediction(best=best), truth=None, fps=30)
        lower_right = (picture[380:445, 270:] == np.array(ACCENT)).all(axis=2)
        columns.append(np.flatnonzero(lower_right.sum(axis=0) > 40).mean())
    assert columns[0] < columns[1] < columns[2]


def test_before_the_first_prediction_there_is_only_the_upper_card() -> None:
    image = np.full((480, 480, 3), 90, np.uint8)
    picture = draw(image, None, truth=None, fps=0)
    assert (picture[100:] == 90).all()
    assert (picture[:80] != 90).any()


def test_what_is_unknown_keeps_its_runners_up_and_is_neither_right_nor_wrong() -> None:
    image = np.zeros((480, 480, 3), np.uint8)
    known = make_prediction()
    unknown = msgspec.structs.replace(known, label=None, score=0.0, state="unknown")
    waiting = msgspec.structs.replace(unknown, state="warming_up")
    pictures = [draw(image, one, truth="jump", fps=30) for one in (known, unknown, waiting)]
    assert np.array_equal(pictures[0][340:], pictures[1][340:])
    assert not np.array_equal(pictures[1][:80], pictures[2][:80])
    assert has(pictures[1], RIGHT) < 50 > has(pictures[1], WRONG)


def test_negative_weights_are_empty_columns() -> None:
    plain = draw(np.zeros((480, 480, 3), np.uint8), make_prediction(), truth=None, fps=30)
    negative = make_prediction()
    negative.routing.update({"1": -0.5, "2": -0.1, "3": -0.9})
    picture = draw(np.zeros((480, 480, 3), np.uint8), negative, truth=None, fps=30)
    assert picture.shape == plain.shape
