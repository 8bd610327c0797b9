"""From a video to clips `(T, H, W, 3)` uint8: sampling decides which frames, preprocessing what becomes of each.

The test view is the contract's alone. A training view samples at random, and may cut and mirror; what it does to one
frame it does to all frames of the clip.
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
from stpr.runtime.contract.preprocess import Image, PreprocessSpec, preprocess
from stpr.runtime.contract.sampling import centre_frames, random_frames
from stpr.train.data.videos import VideoFile, probe
from stpr.train.settings.learning import Augment, SamplingSettings

Clip: TypeAlias = npt.NDArray[np.uint8]  # (T, H, W, 3), or (views, T, H, W, 3) where said
Item = TypeVar("Item")
Loaded = TypeVar("Loaded")

# TSN's multi-scale crop: sides of these parts of the whole, height and width at most one step apart, in the middle or
# in a corner.
MEASURED: Final = 200  # videos that the typical length is taken from

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
    """The choices of one clip; without crop and mirror it is the test view of its frames."""

    indices: list[int]
    crop: _Crop | None = None
    mirror: bool = False


_Plan: TypeAlias = Callable[[int], Sequence[_View]]  # number of frames in the video -> views of it


def load_clip(
    video: Path, *, frames: int, spec: PreprocessSpec, augment: Augment | None, rng: np.random.Generator | None
) -> Clip:
    """One clip `(T, H, W, 3)`: the test view without `rng`, else a random training view.

    Raises DataError for a video that is missing, damaged or cut off.
    """
    # One number per clip: a video that needs a second pass takes no more of them.
    seed = None if rng is None else int(rng.integers(2**63))

    def plan(total: int) -> list[_View]:
        if seed is None:
            return [_View(centre_frames(total, frames))]
        return [_draw(total, frames, augment, np.random.default_rng(seed))]

    clip: Clip = _render(video, plan, spec)[0]
    return clip


def load_draws(video: Path, *, draws: int, spec: PreprocessSpec, sampling: SamplingSettings, seed: int) -> Clip:
    """The test view and `draws` training views of a video, decoded once: `(1 + draws, T, H, W, 3)`, test view first.

    Depends on the seed, the number of the draw and the last two parts of the path alone: neither on order or
    workers, nor on where the data set lies. Raises DataError as `load_clip` does.
    """
    digest = hashlib.sha256(draw_name(video).encode("utf-8", "surrogateescape")).digest()
    frames, keys = sampling.frames, [(seed, int.from_bytes(digest[:8], "big"), draw) for draw in range(draws)]

    def plan(total: int) -> list[_View]:
        training = [_draw(total, frames, sampling.augment, np.random.default_rng(key)) for key in keys]
        return [_View(centre_frames(total, frames)), *training]

    return _render(video, plan, spec)


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
    if not videos:
        raise DataError("there is no training video to take the typical length from; add some.")
    chosen = centre_frames(len(videos), min(at_most, len(videos)))
    return statistics.median(probe(videos[index]).seconds for index in chosen)


def _draw(total: int, frames: int, augment: Augment | None, rng: np.random.Generator) -> _View:
    indices = random_frames(total, frames, rng)
    if augment is None:
        return _View(indices)
    return _View(
        indices,
        crop=_draw_crop(rng) if augment.multi_scale_crop else None,
        mirror=augment.flip and bool(rng.integers(2)),
    )


def _draw_crop(rng: np.random.Generator) -> _Crop:
    height, width = SIDES[rng.integers(len(SIDES))]
    down, across = PLACES[rng.integers(len(PLACES))]
    return _Crop(height, width, down, across)


def _render(path: Path, plan: _Plan, spec: PreprocessSpec) -> Clip:
    """Carry out the plan in one pass if the announced count holds, which it nearly always does; else count first."""
    with VideoFile(path) as video:
        if video.announced > 0:
            clips = _decode(video, plan(video.announced), spec)
            if video.info().frames == video.announced:
                return clips
    total = probe(path).frames
    with VideoFile(path) as video:
        return _decode(video, plan(total), spec)


def _decode(video: VideoFile, views: Sequence[_View], spec: PreprocessSpec) -> Clip:
    places: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, view in enumerate(views):
        for slot, index in enumerate(view.indices):
            places[index].append((number, slot))
    clips = np.empty((len(views), len(views[0].indices), spec.height, spec.width, 3), np.uint8)
    for index, image in video.frames(places.keys()):
        for number, slot in places[index]:
            clips[number, slot] = _look(image, views[number], spec)
    return clips


def _look(image: Image, view: _View, spec: PreprocessSpec) -> Image:
    if view.crop is not None:
        image = _cut(image, view.crop, spec)
        spec = msgspec.structs.replace(spec, resize="stretch")
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
