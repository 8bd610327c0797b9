from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stpr.runtime.contract.motion import MotionSpec
from stpr.train.data.pixels import SECONDS, SIDE, PixelSpec, motion_of
from stpr.train.settings.learning import SamplingSettings
from tests.factories import make_preprocess_spec

PLAIN = PixelSpec(make_preprocess_spec(height=5, width=7))


@given(
    lead=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    pairs=st.integers(1, 4),
    side=st.integers(16, 20),
    seed=st.integers(0, 99),
)
def test_what_was_joined_comes_apart_again(lead: list[int], pairs: int, side: int, seed: int) -> None:
    spec = PixelSpec(PLAIN.picture, MotionSpec(pairs=pairs, side=side, seconds=0.1))
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (*lead, 5, 7, 3), dtype=np.uint8)
    greys = rng.integers(0, 256, (*lead, pairs, 2, side, side), dtype=np.uint8)
    pixels = spec.join(pictures, greys)
    assert pixels.shape == (*lead, *spec.shape)
    for found in (spec.split(pixels), spec.split(torch.from_numpy(pixels))):
        np.testing.assert_array_equal(found[0], pictures)
        assert found[1] is not None
        np.testing.assert_array_equal(found[1], greys)


def test_without_motion_the_pixels_are_the_pictures_themselves() -> None:
    pictures, none = np.zeros((2, 5, 7, 3), np.uint8), np.empty((2, *PLAIN.greys_shape), np.uint8)
    assert PLAIN.shape == PLAIN.picture_shape == (5, 7, 3)
    assert PLAIN.join(pictures, none) is pictures
    found, greys = PLAIN.split(pictures)
    assert found is pictures
    assert greys is None


@pytest.mark.parametrize("pairs", [0, 1, 4])
def test_a_recipe_asks_for_motion_by_its_pairs(pairs: int) -> None:
    wanted = MotionSpec(pairs=pairs, side=SIDE, seconds=SECONDS) if pairs else None
    assert motion_of(SamplingSettings(motion=pairs)) == wanted
