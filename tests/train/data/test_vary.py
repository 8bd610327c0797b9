from __future__ import annotations

import math
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stpr.train.data import vary
from stpr.train.data.vary import CORNERS, MILD, MILD_EVERY, STRONG, Range, Variation, draw_variation

UNCHANGED = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)  # colours
SAME = Variation(CORNERS, UNCHANGED, hue=0, saturation=1.0, blur=0.0, grey=False)
NOTHING = Range((1.0, 1.0), 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0.0, 0.0, 0.0)


def draws(number: int, count: int = 400) -> list[Variation]:
    return [draw_variation(number, np.random.default_rng(seed)) for seed in range(count)]


def geometry(variation: Variation) -> tuple[float, float, float]:
    """By what factor, by how many degrees and how far a draw without perspective moves the picture."""
    place = variation.corners.mean(axis=0)
    turn = np.linalg.lstsq(CORNERS, variation.corners - place, rcond=None)[0].T
    return math.sqrt(abs(np.linalg.det(turn))), math.degrees(math.atan2(turn[1, 0], turn[0, 0])), np.abs(place).max()


def test_a_mild_draw_keeps_within_its_ranges_and_uses_them() -> None:
    found = np.array([geometry(variation) for variation in draws(0)])
    size, turn, shift = found.T
    assert (MILD.size[0] <= size.min() < 0.95, 1.2 < size.max() <= MILD.size[1]) == (True, True)
    assert (-MILD.turn <= turn.min() < -4, 4 < turn.max() <= MILD.turn) == (True, True)
    assert 0.05 < shift.max() <= MILD.shift
    for variation in draws(MILD_EVERY):
        corners = variation.corners - variation.corners.mean(axis=0)
        np.testing.assert_allclose(corners[:2], -corners[2:], atol=1e-9)  # no perspective
        assert abs(variation.hue) <= math.ceil(MILD.hue * 256 / 360)
        assert abs(math.log(variation.saturation)) <= MILD.saturation
        assert (variation.blur, variation.grey) == (0.0, False)


def test_other_draws_go_further_and_some_are_blurred_or_without_colour() -> None:
    for number in (1, 2, 3, MILD_EVERY + 1):
        found = draws(number)
        assert max(abs(variation.hue) for variation in found) > 6
        assert max(abs(math.log(variation.saturation)) for variation in found) > 0.4
        reach = STRONG.shift + STRONG.perspective
        assert 0.15 < max(np.abs(variation.corners.mean(axis=0)).max() for variation in found) <= reach
        shares = [np.mean([variation.blur > 0 for variation in found]), np.mean([one.grey for one in found])]
        assert shares == pytest.approx([STRONG.blur, STRONG.grey], abs=0.07)
        low, high = vary.BLUR
        assert all(variation.blur == 0 or low <= variation.blur <= high for variation in found)


@given(number=st.integers(0, 40), seed=st.integers(0, 2**32))
def test_a_draw_repeats_with_its_seed_and_brightens_no_darker_value_more(number: int, seed: int) -> None:
    first, second, other = (draw_variation(number, np.random.default_rng(at)) for at in (seed, seed, seed + 1))
    for one, again in zip(astuple(first), astuple(second), strict=True):
        np.testing.assert_array_equal(one, again)
    assert not np.array_equal(first.corners, other.corners)
    assert (np.diff(first.colours.astype(int), axis=0) >= 0).all()
    assert (first.colours[0] == 0).all()


@settings(deadline=None, max_examples=30)
@given(
    size=st.tuples(st.integers(8, 70), st.integers(8, 70)),
    number=st.integers(0, 7),
    seed=st.integers(0, 99),
)
def test_a_picture_of_any_shape_keeps_its_shape(size: tuple[int, int], number: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    kept = image.copy()
    found = draw_variation(number, np.random.default_rng(seed)).apply(image)
    assert found.shape == image.shape
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(image, kept)


def test_with_nothing_to_vary_a_picture_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vary, "MILD", NOTHING)
    monkeypatch.setattr(vary, "STRONG", NOTHING)
    image = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    for number in range(5):
        found = draw_variation(number, np.random.default_rng(number)).apply(image)
        off = np.abs(found.astype(int) - image)
        assert (off.mean() < 1, off.max() < 10) == (True, True)  # hues and saturations have 256 steps


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({}, (200, 100, 100)),
        ({"grey": True}, (130, 130, 130)),
        ({"saturation": 0.0}, (200, 200, 200)),
        ({"hue": round(256 / 3)}, (100, 200, 100)),  # red becomes green
        ({"hue": -round(256 / 3)}, (100, 100, 200)),
    ],
)
def test_colours_worked_by_hand(change: dict[str, Any], wanted: tuple[int, int, int]) -> None:
    found = replace(SAME, **change).apply(np.full((12, 16, 3), (200, 100, 100), np.uint8))
    np.testing.assert_allclose(found.astype(int), np.broadcast_to(wanted, (12, 16, 3)), atol=3)


def test_the_corners_say_where_the_picture_goes() -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[10:20, 30:40] = 255
    moved = replace(SAME, corners=CORNERS + np.array([0.25, 0.5])).apply(image)
    assert moved[30:40, 50:60].min() > 250  # a quarter to the right, half down
    turned = replace(SAME, corners=CORNERS[[1, 2, 3, 0]]).apply(image[:, 20:60])
    wanted = np.rot90(image[:, 20:60], -1)  # the upper left corner goes to the upper right
    assert np.abs(turned.astype(int) - wanted).mean() < 12
