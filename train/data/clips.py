"""Load clips from a video: choose frames (sampling), then crop, resize and augment them (preprocessing).

The test view is fixed by the contract with the runtime. A training view samples frames at random, and may crop, mirror
and vary them, equally for all frames of the clip. Motion pairs are taken from the original pictures, only mirrored.
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

Clip: TypeAlias = npt.NDArray[np.uint8]  # (T, *shape) of a PixelSpec, or (views, T, *shape) if stated
Item = TypeVar("Item")
Loaded = TypeVar("Loaded")

# TSN's multi-scale crop: sides are these fractions of the picture, height and width at most one step apart; centred or
# in a corner.
MEASURED: Final = 200  # most videos that the typical length is computed from
LOOKED_AT: Final = 2000  # further videos, where one of those is damaged
MOST_WINDOWS: Final = 120  # per background video, since all its windows are in memory at once

SCALES: Final = (1.0, 0.875, 0.75, 0.66)
SIDES: Final = tuple((a, b) for i, a in enumerate(SCALES) for j, b in enumerate(SCALES) if abs(i - j) <= 1)
PLACES: Final = ((0.5, 0.5), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))


@dataclass(frozen=True, slots=True)
class _Crop:
    """A crop box: height and width as fractions of the largest box, position as fractions of the remaining space."""

    height: float
    width: float
    down: float
    across: float


@dataclass(frozen=True, slots=True)
class _View:
    """The frames and augmentations of one clip; without crop, mirror and variation it is the test view."""

    indices: list[int]
    moments: list[int]  # the frames at which motion pairs end
    crop: _Crop | None = None
    mirror: bool = False
    variation: Variation | None = None


_Plan: TypeAlias = Callable[[int, float], Sequence[_View]]  # frames in the video, frames per second -> views


def load_clip(video: Path, *, spec: PixelSpec, sampling: SamplingSettings, rng: np.random.Generator | None) -> Clip:
    """Load one clip `(T, *spec.shape)`: the test view without `rng`, else a random training view.

    Raises DataError for a video that is missing, damaged or cut off.
    """
    # One random number per clip, so that a second pass over the video uses no more.
    seed = None if rng is None else int(rng.integers(2**63))

    def plan(total: int, rate: float) -> list[_View]:
        del rate
        return [_test_view(total, sampling) if seed is None else _draw(total, sampling, 0, seed)]

    clip: Clip = _render(video, plan, spec)[0]
    return clip


def load_draws(video: Path, *, draws: int, spec: PixelSpec, sampling: SamplingSettings, seed: int) -> Clip:
    """Load the test view and `draws` training views in one decoding pass: `(1 + draws, T, *shape)`, test view first.

    The draws depend only on the seed, the draw's index and the last two parts of the path; not on order, workers or
    the data set's location. Raises DataError as `load_clip` does.
    """
    digest = hashlib.sha256(draw_name(video).encode("utf-8", "surrogateescape")).digest()
    named = int.from_bytes(digest[:8], "big")

    def plan(total: int, rate: float) -> list[_View]:
        del rate
        training = [_draw(total, sampling, draw, (seed, named, draw)) for draw in range(draws)]
        return [_test_view(total, sampling), *training]

    return _render(video, plan, spec)


def load_windows(video: Path, *, span: float, spec: PixelSpec, sampling: SamplingSettings) -> Clip:
    """Load sliding windows of `span` seconds, as a live run sees them: `(W, T, *shape)`.

    Windows overlap by half, or less if there would be more than MOST_WINDOWS; a video shorter than `span` gives its
    test view. Raises DataError as `load_clip` does.
    """

    def plan(total: int, rate: float) -> list[_View]:
        starts, length = _windows(total, rate, span, sampling.frames)
        frames = centre_frames(length, sampling.frames)
        views = [[min(start + frame, total - 1) for frame in frames] for start in starts]
        return [_View(indices, indices) for indices in views]

    return _render(video, plan, spec)


def count_windows(video: Path, *, span: float, frames: int) -> int:
    """Count the windows of `load_windows` from the file's header. Raises DataError as it does."""
    with VideoFile(video) as opened:
        total, rate = opened.announced, opened.rate
    info = None if total else probe(video)
    starts, _ = _windows(total, rate, span, frames) if info is None else _windows(info.frames, info.fps, span, frames)
    return len(starts)


def _windows(total: int, rate: float, span: float, frames: int) -> tuple[list[int], int]:
    """The first frame of each window in a video of `total` frames, and the frames per window."""
    length = min(total, max(frames, round(span * rate)))
    count = min(MOST_WINDOWS, 1 + (total - length) * 2 // length)
    return [round(place * (total - length) / max(1, count - 1)) for place in range(count)], length


def draw_name(video: Path) -> str:
    """The part of a video's path that seeds its draws."""
    return "/".join(video.parts[-2:])


def load_ahead(items: Iterable[Item], load: Callable[[Item], Loaded], *, workers: int) -> Iterator[Loaded]:
    """Yield `load(item)` for each item in order, computed in threads, each at most two items ahead of the caller.

    Threads suffice because decoding releases the GIL; exceptions are re-raised here.
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


def lengths_of(videos: Sequence[Path], *, at_most: int = MEASURED, others: Sequence[Path] = ()) -> dict[Path, float]:
    """The seconds of at most `at_most` of the videos, spread evenly over the list, by decoding them.

    Raises DataError if one of those is damaged; the rest and `others` are then looked at, too, to report all at once.
    """
    measured = _measured(videos, at_most)
    lengths, faults = _probed(measured)
    if faults:
        rest = sorted({*videos, *others}.difference(measured))[:LOOKED_AT]
        check_all(faults + _probed(rest)[1])
    return dict(zip(measured, lengths, strict=True))


def _probed(videos: Sequence[Path]) -> tuple[list[float], list[DataError]]:
    """The lengths of the videos in seconds, and the faults of those that have none."""
    lengths, faults = [], []
    for video in videos:
        try:
            lengths.append(probe(video).seconds)
        except DataError as error:
            faults.append(error)
    return lengths, faults


def announced_span(videos: Sequence[Path]) -> float:
    """Estimate the median of `lengths_of` from the files' headers, decoding only files without a length.

    Raises DataError as `lengths_of` does.
    """
    lengths = []
    for path in _measured(videos, MEASURED):
        with VideoFile(path) as video:
            announced = video.announced / video.rate
        lengths.append(announced or probe(path).seconds)
    return statistics.median(lengths)


def _measured(videos: Sequence[Path], at_most: int) -> list[Path]:
    if not videos:
        raise DataError("there is no training video to measure the typical length of; add some.")
    return [videos[index] for index in centre_frames(len(videos), min(at_most, len(videos)))]


def _test_view(total: int, sampling: SamplingSettings) -> _View:
    indices = centre_frames(total, sampling.frames)
    return _View(indices, indices)


def _draw(total: int, sampling: SamplingSettings, number: int, key: int | tuple[int, ...]) -> _View:
    """The training view with index `number`, from 0, of a video of `total` frames."""
    rng, augment = np.random.default_rng(key), sampling.augment
    indices = random_frames(total, sampling.frames, rng)
    return _View(
        indices,
        # The first frame has no motion before it, and a live window never starts with it.
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
    """Decode and render the planned views in one pass if the announced frame count is right, else count first."""
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
    """Map each frame to the places of its grey picture: view, slot, pair, and 0 or 1 (first or second of the pair)."""
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
    """Cut the crop box; the largest has the output's aspect ratio if the test view keeps it, else the frame's."""
    height, width = image.shape[:2]
    scale = min(height / spec.height, width / spec.width)
    largest = (spec.height * scale, spec.width * scale) if spec.resize == "crop" else (height, width)
    box_height, box_width = max(1, round(largest[0] * crop.height)), max(1, round(largest[1] * crop.width))
    top, left = round((height - box_height) * crop.down), round((width - box_width) * crop.across)
    return image[top : top + box_height, left : left + box_width]
