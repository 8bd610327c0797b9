from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stpr.runtime.contract.errors import ContractError
from stpr.runtime.contract.preprocess import Image, preprocess
from tests.factories import make_preprocess_spec

sides = st.integers(1, 70)


def noise(height: int, width: int) -> Image:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(
    height=sides,
    width=sides,
    out_height=sides,
    out_width=sides,
    fraction=st.floats(0.1, 1),
    how=st.sampled_from(["crop", "stretch"]),
)
def test_any_frame_comes_out_in_the_size_that_is_asked_for(
    height: int, width: int, out_height: int, out_width: int, fraction: float, how: Any
) -> None:
    spec = make_preprocess_spec(height=out_height, width=out_width, crop_fraction=fraction, resize=how)
    image = noise(height, width)
    before = image.copy()
    made = preprocess(image, spec)
    assert made.shape == (out_height, out_width, 3)
    assert made.dtype == np.uint8
    assert made.flags.c_contiguous
    assert np.array_equal(image, before)
    assert image.min() <= made.min()
    assert made.max() <= image.max()


@given(
    height=sides, width=sides, colour=st.tuples(*[st.integers(0, 255)] * 3), how=st.sampled_from(["crop", "stretch"])
)
def test_one_colour_stays_that_colour(height: int, width: int, colour: tuple[int, int, int], how: Any) -> None:
    image = np.full((height, width, 3), colour, np.uint8)
    assert (preprocess(image, make_preprocess_spec(resize=how)) == np.array(colour)).all()


@pytest.mark.parametrize("how", ["crop", "stretch"])
def test_a_frame_of_the_right_size_passes_untouched(how: Any) -> None:
    image = noise(8, 8)
    assert np.array_equal(preprocess(image, make_preprocess_spec(resize=how)), image)


@pytest.mark.parametrize("shape", [(40, 16), (16, 40)])
def test_crop_keeps_the_middle_and_stretch_keeps_all(shape: tuple[int, int]) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    top, left = (shape[0] - 16) // 2, (shape[1] - 16) // 2
    image[top : top + 16, left : left + 16] = 200
    assert (preprocess(image, make_preprocess_spec(resize="crop")) == 200).all()
    assert 0 < preprocess(image, make_preprocess_spec(resize="stretch")).mean() < 150


def test_shrinking_averages() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    assert (preprocess(stripes, make_preprocess_spec()) == 100).all()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_what_is_no_rgb_frame_is_refused(image: Any) -> None:
    with pytest.raises(ContractError, match=r"must be uint8 \(H, W, 3\), got"):
        preprocess(image, make_preprocess_spec())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height": 0}, "height and width must be positive"),
        ({"crop_fraction": 0.0}, "crop_fraction must be in"),
        ({"crop_fraction": 1.1}, "crop_fraction must be in"),
        ({"std": (0.1, 0.0, 0.1)}, "std must be positive"),
    ],
)
def test_impossible_specs_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        make_preprocess_spec(**changes)


def test_the_middle_of_a_squeezed_frame() -> None:
    image = np.zeros((80, 160, 3), np.uint8)
    image[10:70, 20:140] = 200  # three quarters of each side
    spec = make_preprocess_spec(height=30, width=30, resize="stretch", crop_fraction=0.75)
    assert (preprocess(image, spec) == 200).all()
