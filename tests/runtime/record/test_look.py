"""What is said of a clip at a glance."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from stpr.runtime import motions
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.record.look import Look, Looker
from stpr.runtime.sources.frame import Frame, Origin

ORIGIN = Origin("film", is_live=False)


def look(change: Callable[[Image], Image] = lambda image: image, *, still: bool = False, rate: int = 16) -> Look:
    """Two seconds of the embedded motions, changed, by way of `rate` frames a second."""
    looker = Looker()
    shots = motions.stream(0, float(rate))
    image, _ = next(shots)
    for index in range(2 * rate):
        image = image if still else next(shots)[0]
        looker.see(Frame(change(image), index, index / rate, ORIGIN))
    return looker.look()


def noisy(image: Image) -> Image:
    noise = np.random.default_rng(int(image.sum())).normal(0, 3, image.shape)
    return np.clip(cv2.resize(image, (640, 640)) + cv2.resize(noise, (640, 640)), 0, 255).astype(np.uint8)


def test_a_good_clip_raises_no_doubt() -> None:
    found = look()
    assert (found.frames, found.width, found.height) == (32, motions.SIZE, motions.SIZE)
    assert found.seconds == pytest.approx(2.0)
    assert found.doubts == []
    assert str(found).startswith("32 frames, 2.0 s, 96x96; brightness ")


@pytest.mark.parametrize(
    ("change", "doubt"),
    [
        (lambda image: (image * 0.1).astype(np.uint8), "dark: add light"),
        (lambda image: np.maximum(image, 245), "glaring: less light"),
        (lambda image: cv2.GaussianBlur(image, (0, 0), 3), "blurred: focus"),
    ],
)
def test_a_doubt_is_said_with_its_way_out(change: Callable[[Image], Image], doubt: str) -> None:
    assert doubt in str(look(change))


@pytest.mark.parametrize("change", [lambda image: image, noisy])
def test_a_still_picture_is_told_whatever_the_noise(change: Callable[[Image], Image]) -> None:
    assert "hardly anything moves" in str(look(change, still=True))
    assert "hardly anything moves" not in str(look(change))


def test_movement_and_sharpness_are_those_of_the_scene_not_of_the_rate_or_the_size() -> None:
    plain, fast = look(), look(rate=60)
    assert fast.movement == pytest.approx(plain.movement, rel=0.5)
    large = look(lambda image: np.asarray(cv2.resize(image, (1280, 1280), interpolation=cv2.INTER_NEAREST), np.uint8))
    assert large.brightness == pytest.approx(plain.brightness, rel=0.02)
    assert large.movement == pytest.approx(plain.movement, rel=0.1)
