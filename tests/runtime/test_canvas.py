from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stpr.runtime.canvas import STAGES, Canvas, plain, shelves, stage_colour
from stpr.runtime.contract.preprocess import Image

WHITE = (255, 255, 255)


def black(height: int = 60, width: int = 400) -> Image:
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize("unit", [1.0, 2.5])
def test_words_stay_in_their_room(unit: float) -> None:
    canvas = Canvas(black(150, 1000), unit, left=10, top=4)
    words = "an action whose name is longer than its bar"
    assert canvas.measure(words, 12) > 120
    canvas.text(words, (0, 20), size=12, colour=WHITE, room=120)
    columns = np.flatnonzero(canvas.image.any(axis=(0, 2)))
    assert columns.min() >= 9 * unit
    assert columns.max() <= (10 + 121) * unit


def test_what_fits_is_whole_and_what_does_not_is_cut() -> None:
    canvas = Canvas(black())
    assert canvas.cut("wave", 12, 200) == "wave"
    cut = canvas.cut("turn counterclockwise", 12, 100)
    assert cut.startswith("turn c")
    assert cut.endswith("...")
    assert canvas.measure(cut, 12) <= 100


def test_words_end_or_have_their_middle_where_they_should() -> None:
    for place, wanted in (("text_right", 1.0), ("text_middle", 0.5)):
        canvas = Canvas(black())
        getattr(canvas, place)("wave", (200, 30), size=14, colour=WHITE)
        columns = np.flatnonzero(canvas.image.any(axis=(0, 2)))
        width = canvas.measure("wave", 14)
        assert columns.min() == pytest.approx(200 - wanted * width, abs=3)
        assert columns.max() == pytest.approx(200 + (1 - wanted) * width, abs=3)


def test_letters_that_opencv_has_not_are_replaced() -> None:
    assert Canvas(black()).cut("wåve à 手", 12, 400) == "wave a Shou"


def test_a_box_is_never_too_thin_to_be_seen() -> None:
    canvas = Canvas(black(), 0.5)
    canvas.box(10, 10, 0, 0, WHITE)
    assert canvas.image.any(axis=2).sum() == 1


def test_stages_have_colours_of_their_own_until_there_are_no_more() -> None:
    colours = [stage_colour(stage) for stage in range(1, 51)]
    assert len(set(colours[: len(STAGES)])) == len(STAGES)
    assert colours[len(STAGES)] == colours[0]


# What is left of a colour's light to who lacks the cones for green or red (Machado and others, 2009).
SIGHTS = {
    "full": np.eye(3),
    "deutan": np.array([[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]),
    "protan": np.array([[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


@pytest.mark.parametrize("sight", SIGHTS)
def test_colours_of_stages_are_told_apart_by_all(sight: str) -> None:
    """Distances in CIELAB: 2 is just seen by who compares, 10 at a glance."""
    shares = np.array(STAGES) / 255
    light = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    seen = np.clip(light @ SIGHTS[sight].T, 0, 1) @ TO_XYZ.T / np.array([0.9505, 1, 1.089])
    roots = np.where(seen > 0.008856, np.cbrt(seen), 7.787 * seen + 16 / 116)
    x, y, z = roots.T
    places = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2) + 1000 * np.eye(len(STAGES))
    assert apart[:5, :5].min() > 20
    assert apart.min() > 11


def test_names_are_read_without_underscores() -> None:
    assert plain("rise_then_fall") == "rise then fall"


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 40)), max_size=30))
def test_nothing_overlaps_on_a_shelf_and_no_shelf_is_too_many(pieces: list[tuple[float, float]]) -> None:
    extents = sorted((start, start + length) for start, length in pieces)
    found = shelves(extents, gap=0.0)
    for shelf in set(found):
        own = [extent for extent, index in zip(extents, found, strict=True) if index == shelf]
        assert all(end <= following for (_, end), (following, _) in pairwise(own))
    # As many as share one moment, the fewest there can be.
    most = max((sum(a <= start < b for a, b in extents) for start, _ in extents), default=0)
    assert len(set(found)) == most


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("走る", "Zouru"),
        ("мама", "mama"),
        ("cafe\u0301", "cafe"),
        ("wink 👋🏽", "wink :wave:"),
        ("🧑\u200d🚀", ":adult::rocket:"),
        ("a\nb\tc", "a b c"),
        ("\U0003fff0", "?"),
    ],
)
def test_letters_that_the_font_lacks_are_written_as_they_sound(name: str, seen: str) -> None:
    assert Canvas(black()).cut(name, 12, 400) == seen
    assert Canvas(black()).measure(name, 12) == Canvas(black()).measure(seen, 12)
