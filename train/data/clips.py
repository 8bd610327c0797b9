"""From a video to the pixels of clips: sampling decides which frames, preprocessing what becomes of each.

The test view is the contract's alone. A training view samples at random, and may cut, mirror and vary; what it does to
one frame it does to all frames of the clip. Motion is seen in the pictures as they are, but for the mirror.
"""

from __future__ import annotations

import hashlib
import statistics
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from stpr.runtime.contract.errors import DataError
from stpr.runtime.contract.motion import MotionSpec, grey, pairs_before
from stpr.runtime.contract.preprocess import Image, PreprocessSpec, preprocess
from stpr.runtime.contract.sampling import centre_frames, random_frames
from stpr.train.data.pixels import PixelSpec
from stpr.train.data.vary import Variation, draw_variation
from stpr.train.data.videos import VideoFile, check_all, probe
from stpr.train.settings.learning import SamplingSettings

Clip: TypeAlias = npt.NDArray[np.uint8]  # (T, *shape) of a PixelSpec, or (views, T, *shape) where said
Item = TypeVar("Item")
Loaded = TypeVar("Loaded")

# TSN's multi-scale crop: sides of these parts of the whole, height and width at most one step apart, in the middle or
# in a corner.
MEASURED: Final = 200  # videos that the typical length is taken from
MOST_WINDOWS: Final = 120  # of one background video: they are in memory together

SCALES: Final = (1.0, 0.875, 0.75, 0.66)
SIDES: Final = tuple((a, b) for i, a in enumerate(SCALES) for j, b in enumerate(SCALES) if abs(i - j) <= 1)
PLACES: Final = ((0.5, 0.5), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))


@dataclass(frozen=True, slots=True)
class _Crop:
    """A box as parts of the largest one: its height and width, and where in the room left over it lies."""

    height: float
    width: float
    down: float
    across: float


@dataclass(frozen=True, slots=True)
class _View:
    """The choices of one clip; without crop, variation and mirror it is the test view of its frames."""

    indices: list[int]
    moments: list[int]  # the frames whose motion goes with them
    crop: _Crop | None = None
    mirror: bool = False
    variation: Variation | None = None


_Plan: TypeAlias = Callable[[int, float], Sequence[_View]]  # frames in the video, and a second -> views of it


def load_clip(video: Path, *, spec: PixelSpec, sampling: SamplingSettings, rng: np.random.Generator | None) -> Clip:
    """One clip `(T, *spec.shape)`: the test view without `rng`, else a random training view.

    Raises DataError for a video that is missing, damaged or cut off.
    """
    # One number per clip: a video that needs a second pass takes no more of them.
    seed = None if rng is None else int(rng.integers(2**63))

    def plan(total: int, rate: float) -> list[_View]:
        del rate
        return [_test_view(total, sampling) if seed is None else _draw(total, sampling, 0, seed)]

    clip: Clip = _render(video, plan, spec)[0]
    return clip


def load_draws(video: Path, *, draws: int, spec: PixelSpec, sampling: SamplingSettings, seed: int) -> Clip:
    """The test view and `draws` training views of a video, decoded once: `(1 + draws, T, *shape)`, test view first.

    Depends on the seed, the number of the draw and the last two parts of the path alone: neither on order or
    workers, nor on where the data set lies. Raises DataError as `load_clip` does.
    """
    digest = hashlib.sha256(draw_name(video).encode("utf-8", "surrogateescape")).digest()
    named = int.from_bytes(digest[:8], "big")

    def plan(total: int, rate: float) -> list[_View]:
        del rate
        training = [_draw(total, sampling, draw, (seed, named, draw)) for draw in range(draws)]
        return [_test_view(total, sampling), *training]

    return _render(video, plan, spec)


def load_windows(video: Path, *, span: float, spec: PixelSpec, sampling: SamplingSettings) -> Clip:
    """What a live window of `span` seconds sees while it slides over a video: `(W, T, *shape)`.

    Half a span apart, or further where there would be more than MOST_WINDOWS; of a shorter video it is the test view.
    Raises DataError as `load_clip` does.
    """

    def plan(total: int, rate: float) -> list[_View]:
        starts, length = _windows(total, rate, span, sampling.frames)
        frames = centre_frames(length, sampling.frames)
        views = [[min(start + frame, total - 1) for frame in frames] for start in starts]
        return [_View(indices, indices) for indices in views]

    return _render(video, plan, spec)


def count_windows(video: Path, *, span: float, frames: int) -> int:
    """How many windows `load_windows` gives of a video, by what the file announces. Raises DataError as it does."""
    with VideoFile(video) as opened:
        total, rate = opened.announced, opened.rate
    info = None if total else probe(video)
    starts, _ = _windows(total, rate, span, frames) if info is None else _windows(info.frames, info.fps, span, frames)
    return len(starts)


def _windows(total: int, rate: float, span: float, frames: int) -> tuple[list[int], int]:
    """The first frame of each window over a video of `total` frames, and how many frames a window covers."""
    length = min(total, max(frames, round(span * rate)))
    count = min(MOST_WINDOWS, 1 + (total - length) * 2 // length)
    return [round(place * (total - length) / max(1, count - 1)) for place in range(count)], length


def draw_name(video: Path) -> str:
    """The part of a video's path that seeds its draws."""
    return "/".join(video.parts[-2:])


def load_ahead(items: Iterable[Item], load: Callable[[Item], Loaded], *, workers: int) -> Iterator[Loaded]:
    """`load(item)` for each item, in order, by threads that stay at most two items each ahead of the caller.

    Decoding releases the interpreter, so threads suffice, and an error arrives as it was raised.
    """
    waiting: deque[Future[Loaded]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(load, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def median_span(videos: Sequence[Path], *, at_most: int = MEASURED) -> float:
    """The typical length of a video in seconds: the median over at most that many, spread evenly over the list."""
    lengths, faults = [], []
    for video in _measured(videos, at_most):
        try:
            lengths.append(probe(video).seconds)
        except DataError as error:
            faults.append(error)
    check_all(faults)
    return statistics.median(lengths)


def announced_span(videos: Sequence[Path]) -> float:
    """What `median_span` will be, by what the files announce: nothing is decoded of those that say how long they are.

    Raises DataError as `median_span` does.
    """
    lengths = []
    for path in _measured(videos, MEASURED):
        with VideoFile(path) as video:
            told = video.announced / video.rate
        lengths.append(told or probe(path).seconds)
    return statistics.median(lengths)


def _measured(videos: Sequence[Path], at_most: int) -> list[Path]:
    if not videos:
        raise DataError("there is no training video to take the typical length from; add some.")
    return [videos[index] for index in centre_frames(len(videos), min(at_most, len(videos)))]


def _test_view(total: int, sampling: SamplingSettings) -> _View:
    indices = centre_frames(total, sampling.frames)
    return _View(indices, indices)


def _draw(total: int, sampling: SamplingSettings, number: int, key: int | tuple[int, ...]) -> _View:
    """The training view of that number, from 0, of a video of `total` frames."""
    rng, augment = np.random.default_rng(key), sampling.augment
    indices = random_frames(total, sampling.frames, rng)
    return _View(
        indices,
        # Nothing has moved yet in the first frame, which a live window never starts with.
        [min(max(1, index), total - 1) for index in indices],
        crop=_draw_crop(rng) if augment.multi_scale_crop else None,
        mirror=augment.flip and bool(rng.integers(2)),
        variation=draw_variation(number, rng) if augment.vary else None,
    )


def _draw_crop(rng: np.random.Generator) -> _Crop:
    height, width = SIDES[rng.integers(len(SIDES))]
    down, across = PLACES[rng.integers(len(PLACES))]
    return _Crop(height, width, down, across)


def _render(path: Path, plan: _Plan, spec: PixelSpec) -> Clip:
    """Carry out the plan in one pass if the announced count holds, which it nearly always does; else count first."""
    with VideoFile(path) as video:
        if video.announced > 0:
            clips = _decode(video, plan(video.announced, video.rate), spec, video.announced)
            if video.info().frames == video.announced:
                return clips
    info = probe(path)
    with VideoFile(path) as video:
        return _decode(video, plan(info.frames, info.fps), spec, info.frames)


def _decode(video: VideoFile, views: Sequence[_View], spec: PixelSpec, total: int) -> Clip:
    places: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, view in enumerate(views):
        for slot, index in enumerate(view.indices):
            places[index].append((number, slot))
    moving = _moving_frames(views, spec.motion, total, video.rate)
    size = (len(views), len(views[0].indices))
    pictures = np.empty((*size, *spec.picture_shape), np.uint8)
    greys = np.empty((*size, *spec.greys_shape), np.uint8)
    for index, image in video.frames(places.keys() | moving.keys()):
        for number, slot in places[index]:
            pictures[number, slot] = _look(image, views[number], spec.picture)
        if spec.motion and moving[index]:
            seen = grey(image, spec.motion)
            for number, slot, pair, side in moving[index]:
                greys[number, slot, pair, side] = seen[:, ::-1] if views[number].mirror else seen
    return spec.join(pictures, greys)


def _moving_frames(
    views: Sequence[_View], motion: MotionSpec | None, total: int, rate: float
) -> defaultdict[int, list[tuple[int, int, int, int]]]:
    """Where the grey picture of each frame goes: view, slot, pair, and 0 or 1 for before and after."""
    places: defaultdict[int, list[tuple[int, int, int, int]]] = defaultdict(list)
    if motion is None:
        return places
    times = [index / rate for index in range(total)]
    for number, view in enumerate(views):
        for slot, moment in enumerate(view.moments):
            for pair, ends in enumerate(pairs_before(times, moment, motion)):
                for side, index in enumerate(ends):
                    places[index].append((number, slot, pair, side))
    return places


def _look(image: Image, view: _View, spec: PreprocessSpec) -> Image:
    if view.variation is not None:
        image = view.variation.apply(image)
    if view.crop is not None:
        image = _cut(image, view.crop, spec)
        spec = msgspec.structs.replace(spec, resize="stretch", crop_fraction=1.0)
    image = preprocess(image, spec)
    return image[:, ::-1] if view.mirror else image


def _cut(image: Image, crop: _Crop, spec: PreprocessSpec) -> Image:
    """The crop's box; the largest one has the output's shape if the test view keeps shapes, else it is the frame."""
    height, width = image.shape[:2]
    scale = min(height / spec.height, width / spec.width)
    largest = (spec.height * scale, spec.width * scale) if spec.resize == "crop" else (height, width)
    box_height, box_width = max(1, round(largest[0] * crop.height)), max(1, round(largest[1] * crop.width))
    top, left = round((height - box_height) * crop.down), round((width - box_width) * crop.across)
    return image[top : top + box_height, left : left + box_width]
