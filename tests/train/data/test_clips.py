from __future__ import annotations

import shutil
import statistics
import threading
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stpr.runtime.contract.errors import DataError
from stpr.runtime.contract.motion import MotionSpec, grey, pairs_before
from stpr.runtime.contract.preprocess import PreprocessSpec, preprocess
from stpr.runtime.contract.sampling import centre_frames
from stpr.train.data import clips
from stpr.train.data.clips import MOST_WINDOWS, SIDES, lengths_of, load_ahead, load_clip, load_draws, load_windows
from stpr.train.data.pixels import PixelSpec
from stpr.train.data.videos import VideoFile
from stpr.train.settings.learning import Augment, SamplingSettings

TOTAL, HEIGHT, WIDTH = 40, 60, 100
FULL = Augment(multi_scale_crop=True, flip=True)
MIRRORED = Augment(multi_scale_crop=False, flip=True)
PLAIN = Augment(multi_scale_crop=False, flip=False)


def sampling(frames: int, augment: Augment) -> SamplingSettings:
    return SamplingSettings(frames=frames, augment=augment)


def picture(**changes: object) -> PreprocessSpec:
    whole = PreprocessSpec(
        height=24, width=24, resize="crop", crop_fraction=0.875, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
    )
    return msgspec.structs.replace(whole, **changes)


def spec(**changes: object) -> PixelSpec:
    return PixelSpec(picture(**changes))


def write_video(path: Path, frames: int = TOTAL) -> Path:
    """Red grows with the frame's number, green from left to right, blue from top to bottom."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for index in range(frames):
        picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        picture[:, :, 2] = 5 * index % 256
        picture[:, :, 1] = np.linspace(0, 250, WIDTH)
        picture[:, :, 0] = np.linspace(0, 250, HEIGHT)[:, None]
        writer.write(picture)
    writer.release()
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("set") / "wave" / "video.avi")


@pytest.mark.parametrize("resize", ["crop", "stretch"])
@pytest.mark.parametrize("frames", [1, 4, 8, 50])
def test_without_a_generator_the_clip_is_the_test_view(video: Path, resize: str, frames: int) -> None:
    chosen = picture(resize=resize)
    clip = load_clip(video, spec=PixelSpec(chosen), sampling=sampling(frames, FULL), rng=None)
    with VideoFile(video) as opened:
        pictures = dict(opened.frames(range(TOTAL)))
    expected = [preprocess(pictures[index], chosen) for index in centre_frames(TOTAL, frames)]
    assert clip.dtype == np.uint8
    np.testing.assert_array_equal(clip, np.stack(expected))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), frames=st.integers(1, 10))
def test_a_training_view_takes_one_frame_from_each_part(video: Path, seed: int, frames: int) -> None:
    clip = load_clip(video, spec=spec(), sampling=sampling(frames, PLAIN), rng=np.random.default_rng(seed))
    numbers = np.rint(clip[..., 0].mean(axis=(1, 2)) / 5).astype(int)
    assert list(numbers) == sorted(numbers)
    for part, number in enumerate(numbers):
        assert part * TOTAL // frames <= number < (part + 1) * TOTAL // frames


def test_a_generator_gives_other_clips_each_time_and_the_same_again(video: Path) -> None:
    def three() -> list[bytes]:
        rng = np.random.default_rng(5)
        return [load_clip(video, spec=spec(), sampling=sampling(4, FULL), rng=rng).tobytes() for _ in range(3)]

    assert three() == three()
    assert len(set(three())) == 3


def boxes(clips: np.ndarray) -> np.ndarray:
    """What each frame of `(..., H, W, 3)` shows of the picture: left, right, top, bottom, as parts of the whole."""
    green, blue = clips[..., 1].mean(axis=-2) / 250, clips[..., 2].mean(axis=-1) / 250
    return np.stack([green[..., 0], green[..., -1], blue[..., 0], blue[..., -1]], axis=-1)


@pytest.mark.parametrize("resize", ["crop", "stretch"])
def test_all_frames_of_a_view_are_cut_and_mirrored_alike(video: Path, resize: str) -> None:
    clips = load_draws(video, draws=40, spec=spec(resize=resize), sampling=sampling(4, FULL), seed=1)
    found = boxes(clips[1:])
    np.testing.assert_allclose(found, found[:, :1].repeat(4, axis=1), atol=0.02)
    assert {bool(mirrored) for mirrored in found[:, 0, 0] > found[:, 0, 1]} == {True, False}
    assert len({tuple(np.round(box, 1)) for box in found[:, 0]}) > 10


@pytest.mark.parametrize(("resize", "largest"), [("crop", (1.0, HEIGHT / WIDTH)), ("stretch", (1.0, 1.0))])
def test_boxes_have_the_sides_and_places_of_tsn(video: Path, resize: str, largest: tuple[float, float]) -> None:
    augment = Augment(multi_scale_crop=True, flip=False)
    clips = load_draws(video, draws=120, spec=spec(resize=resize), sampling=sampling(1, augment), seed=2)
    places = set()
    for left, right, top, bottom in boxes(clips[1:, 0]):
        height, width = (bottom - top) / largest[0], (right - left) / largest[1]
        # The outermost of 24 output pixels show the middle of what they cover: 23/24 of the side.
        assert min(abs(height - a * 23 / 24) + abs(width - b * 23 / 24) for a, b in SIDES) < 0.05
        if max(height, width) < 0.9:  # a box with room to lie in
            places.add((where(left, right), where(top, bottom)))
    corners = {(across, down) for across in ("start", "end") for down in ("start", "end")}
    assert places == corners | {("middle", "middle")}


def where(start: float, end: float) -> str:
    """Where between 0 and 1 a span lies."""
    if abs(start + end - 1) < 0.04:
        return "middle"
    return "start" if start < 0.04 else "end" if end > 0.94 else f"{start} to {end}"


def test_sides_are_at_most_one_step_apart() -> None:
    alike = {(1.0, 1.0), (0.875, 0.875), (0.75, 0.75), (0.66, 0.66)}
    flat = {(0.875, 1.0), (0.75, 0.875), (0.66, 0.75)}
    assert len(SIDES) == 10
    assert set(SIDES) == alike | flat | {(width, height) for height, width in flat}


def test_mirroring_alone_mirrors_about_half(video: Path) -> None:
    augment = Augment(multi_scale_crop=False, flip=True)
    clips = load_draws(video, draws=60, spec=spec(), sampling=sampling(1, augment), seed=0)
    mirrored = boxes(clips[1:, 0])[:, 0] > 0.5
    assert 15 <= mirrored.sum() <= 45
    np.testing.assert_allclose(clips[1:, 0][mirrored][0][:, ::-1, 1:], clips[0, 0][..., 1:], atol=3)


def test_draws_begin_with_the_test_view(video: Path) -> None:
    clips = load_draws(video, draws=3, spec=spec(), sampling=sampling(4, FULL), seed=0)
    assert clips.shape == (4, 4, 24, 24, 3)
    np.testing.assert_array_equal(clips[0], load_clip(video, spec=spec(), sampling=sampling(4, PLAIN), rng=None))
    assert len({clip.tobytes() for clip in clips}) == 4


def test_more_draws_keep_the_earlier_ones(video: Path) -> None:
    few, many = (load_draws(video, draws=draws, spec=spec(), sampling=sampling(4, FULL), seed=0) for draws in (2, 5))
    np.testing.assert_array_equal(few, many[:3])


def test_draws_depend_on_seed_and_name_but_not_on_the_place(video: Path, tmp_path: Path) -> None:
    def draws(path: Path, seed: int = 0) -> bytes:
        return load_draws(path, draws=2, spec=spec(), sampling=sampling(4, FULL), seed=seed)[1:].tobytes()

    for name in ("moved/wave/video.avi", "moved/wave/other.avi", "moved/clap/video.avi"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(video, tmp_path / name)
    assert draws(video) == draws(tmp_path / "moved/wave/video.avi")
    assert draws(video) != draws(video, seed=1)
    assert len({draws(path) for path in (tmp_path / "moved").glob("*/*.avi")}) == 3


MOVING = PixelSpec(picture(), MotionSpec(pairs=3, side=16, seconds=1 / 15))
RATE = 20.0  # frames a second of the videos that are written here


def greys_of(video: Path, at: int, *, mirror: bool) -> np.ndarray:
    """The pairs that belong to a frame, of all that the video holds."""
    assert MOVING.motion is not None
    with VideoFile(video) as opened:
        pictures = dict(opened.frames(range(TOTAL)))
    pairs = pairs_before([index / RATE for index in range(TOTAL)], at, MOVING.motion)
    found = np.array([[grey(pictures[end], MOVING.motion) for end in pair] for pair in pairs])
    return found[..., ::-1] if mirror else found


@pytest.mark.parametrize("frames", [1, 4, 50])
def test_the_test_view_has_the_pairs_of_its_frames(video: Path, frames: int) -> None:
    pixels = load_clip(video, spec=MOVING, sampling=sampling(frames, FULL), rng=None)
    assert pixels.shape == (frames, *MOVING.shape)
    pictures, greys = MOVING.split(pixels)
    np.testing.assert_array_equal(pictures, load_clip(video, spec=spec(), sampling=sampling(frames, FULL), rng=None))
    assert greys is not None
    for place, at in enumerate(centre_frames(TOTAL, frames)):
        np.testing.assert_array_equal(greys[place], greys_of(video, at, mirror=False))


def test_a_draw_has_the_pairs_of_its_frames_mirrored_as_it_is_and_never_those_of_the_first(video: Path) -> None:
    drawn = load_draws(video, draws=12, spec=MOVING, sampling=sampling(20, MIRRORED), seed=0)[1:]
    pictures, greys = MOVING.split(drawn)
    assert greys is not None
    seen = set()
    for draw, clip in enumerate(pictures):
        mirror = bool(boxes(clip[0])[0] > 0.5)
        for slot, number in enumerate(np.rint(clip[..., 0].mean(axis=(1, 2)) / 5).astype(int)):
            seen.add((mirror, bool(number == 0)))
            np.testing.assert_array_equal(greys[draw, slot], greys_of(video, max(1, number), mirror=mirror))
    assert seen == {(mirror, first) for mirror in (False, True) for first in (False, True)}


def test_a_video_of_one_frame_shows_no_motion(tmp_path: Path) -> None:
    drawn = load_draws(write_video(tmp_path / "one.avi", 1), draws=2, spec=MOVING, sampling=sampling(4, PLAIN), seed=0)
    _, greys = MOVING.split(drawn)
    assert greys is not None
    assert (greys == greys[0, 0, 0, 0]).all()


@pytest.mark.parametrize("other", [FULL, Augment(multi_scale_crop=False, flip=True, vary=True)])
def test_motion_is_seen_in_the_pictures_as_they_are(video: Path, other: Augment) -> None:
    """Neither cut nor varied: of the test view and of frames drawn alike."""
    plain, changed = (
        load_draws(video, draws=6, spec=MOVING, sampling=sampling(4, one), seed=3) for one in (PLAIN, other)
    )
    wanted, greys = MOVING.split(plain)[1], MOVING.split(changed)[1]
    assert wanted is not None
    assert greys is not None
    mirrored = []
    for draw in range(7):
        as_it_is, turned = (np.array_equal(greys[draw], one) for one in (wanted[draw], wanted[draw, ..., ::-1]))
        assert as_it_is or turned
        mirrored.append(turned)
    assert {True, False} == set(mirrored)


def test_a_clip_varies_alike_in_all_of_its_frames(tmp_path: Path) -> None:
    """In a video of a still picture every draw is one picture, and each its own."""
    path = tmp_path / "still.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), RATE, (WIDTH, HEIGHT))
    still = np.random.default_rng(0).integers(0, 256, (HEIGHT // 10, WIDTH // 10, 3), dtype=np.uint8)
    for _ in range(12):
        writer.write(cv2.resize(still, (WIDTH, HEIGHT)))
    writer.release()
    augment = Augment(multi_scale_crop=False, flip=False, vary=True)
    drawn, again = (load_draws(path, draws=8, spec=spec(), sampling=sampling(4, augment), seed=5) for _ in range(2))
    np.testing.assert_array_equal(drawn, again)
    np.testing.assert_array_equal(drawn, drawn[:, :1].repeat(4, axis=1))
    assert len({clip.tobytes() for clip in drawn}) == 9
    off = np.abs(drawn[1:, 0].astype(int) - drawn[0, 0]).mean(axis=(1, 2, 3))
    assert max(off[0], off[4]) < np.median(off[[1, 2, 3, 5, 6, 7]])  # one in four is mild


def test_all_draws_share_one_pass(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []

    class Counted(VideoFile):
        def __init__(self, path: Path) -> None:
            opened.append(path)
            super().__init__(path)

    monkeypatch.setattr(clips, "VideoFile", Counted)
    load_draws(video, draws=9, spec=MOVING, sampling=sampling(8, FULL), seed=0)
    assert opened == [video]


def announce(path: Path, frames: int) -> Path:
    """Write another number of frames into the headers of an AVI: what `avih` and `strh` announce."""
    raw = bytearray(path.read_bytes())
    for tag, offset in ((b"avih", 24), (b"strh", 40)):
        start = raw.find(tag) + offset
        raw[start : start + 4] = frames.to_bytes(4, "little")
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("announced", [TOTAL - 3, TOTAL + 2, 0])
def test_clips_are_drawn_from_the_frames_that_are_there(video: Path, tmp_path: Path, announced: int) -> None:
    (tmp_path / "wave").mkdir()
    wrong = announce(Path(shutil.copy(video, tmp_path / "wave" / "video.avi")), announced)
    with VideoFile(wrong) as opened:
        assert opened.announced == announced
    for augment in (PLAIN, FULL):
        found, expected = (
            load_draws(path, draws=3, spec=spec(), sampling=sampling(TOTAL, augment), seed=0) for path in (wrong, video)
        )
        np.testing.assert_array_equal(found, expected)


def test_a_video_that_is_cut_off_stops_the_run(video: Path, tmp_path: Path) -> None:
    shorter = tmp_path / "short.avi"
    shorter.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    for rng in (None, np.random.default_rng(0)):
        with pytest.raises(DataError, match=r"short\.avi announces 40 frames but ends after"):
            load_clip(shorter, spec=spec(), sampling=sampling(1, PLAIN), rng=rng)


@pytest.mark.parametrize("workers", [1, 3])
def test_loading_ahead_keeps_the_order_and_its_distance(workers: int) -> None:
    started = 0
    lock = threading.Lock()

    def load(item: int) -> int:
        nonlocal started
        with lock:
            started += 1
        return item * item

    for taken, value in enumerate(load_ahead(range(50), load, workers=workers)):
        assert value == taken * taken
        assert started <= taken + 1 + 2 * workers
    assert started == 50


def test_loading_ahead_raises_what_was_raised(video: Path, tmp_path: Path) -> None:
    def load(path: Path) -> int:
        return len(load_clip(path, spec=spec(), sampling=sampling(2, PLAIN), rng=None))

    found = load_ahead([video, tmp_path / "gone.avi", video], load, workers=2)
    assert next(found) == 2
    with pytest.raises(DataError, match=r"gone\.avi is missing"):
        next(found)


def test_workers_do_not_change_the_clips(video: Path) -> None:
    def load(seed: int) -> bytes:
        return load_draws(video, draws=2, spec=spec(), sampling=sampling(4, FULL), seed=seed).tobytes()

    one, three = (list(load_ahead(range(6), load, workers=workers)) for workers in (1, 3))
    assert one == three


def test_the_typical_span_is_the_median(tmp_path: Path) -> None:
    videos = [write_video(tmp_path / f"{frames}.avi", frames) for frames in (20, 30, 50)]
    assert statistics.median(lengths_of(videos).values()) == pytest.approx(1.5, rel=0.01)
    assert lengths_of(videos, at_most=1) == {videos[1]: pytest.approx(1.5, rel=0.01)}  # the middle one of the list
    with pytest.raises(DataError, match="no training video to measure the typical length of"):
        lengths_of([])


def test_where_one_video_is_damaged_all_are_looked_at_and_named(tmp_path: Path) -> None:
    whole = [write_video(tmp_path / f"{name}.avi", 20) for name in "abcd"]
    damaged = [tmp_path / f"{name}.avi" for name in "efgh"]
    for path in damaged:
        path.write_bytes(b"no video")
    with pytest.raises(DataError) as caught:
        lengths_of([whole[0], damaged[0], whole[1], damaged[1]], at_most=2, others=[*whole[2:], *damaged[2:]])
    assert caught.value.message.startswith("4 videos can't be used: ")
    assert all(str(path) in caught.value.message for path in damaged)
    lengths_of([damaged[0], whole[0]], at_most=1)  # what is not measured is looked at when its stage is encoded


@pytest.mark.parametrize("raw", [b'{"multi_scale_crop": true, "flip": false, "jitter": 1}', b'{"flip": true}'])
def test_augmentation_is_spelt_out(raw: bytes) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"unknown field `jitter`|missing required field"):
        msgspec.json.decode(raw, type=Augment)


def test_real_clips_fill_a_batch(shared_data: Path) -> None:
    paths = sorted((shared_data / "asl24" / "clips" / "A").iterdir())[:4]

    def load(path: Path) -> np.ndarray:
        return load_draws(path, draws=2, spec=spec(height=224, width=224), sampling=sampling(8, FULL), seed=0)

    batch = np.stack(list(load_ahead(paths, load, workers=2)))
    assert batch.shape == (4, 3, 8, 224, 224, 3)
    assert statistics.median(lengths_of(paths).values()) == pytest.approx(32 / 30, rel=0.01)


def test_windows_slide_over_a_video_by_half_a_span(tmp_path: Path) -> None:
    """A span of half a second at 20 frames a second: ten frames, and from one window to the next five."""
    video, plain = write_video(tmp_path / "a.avi"), sampling(5, PLAIN)
    windows = load_windows(video, span=0.5, spec=spec(), sampling=plain)
    red = windows[..., 0].mean(axis=(2, 3)) / 5
    expected = [[start + frame for frame in (1, 3, 5, 7, 9)] for start in range(0, 31, 5)]
    np.testing.assert_allclose(red, expected, atol=1.0)
    assert len(load_windows(video, span=5 / 20, spec=spec(), sampling=plain)) == 1 + 2 * 35 // 5
    short = load_windows(video, span=9.0, spec=spec(), sampling=plain)
    assert np.array_equal(short[0], load_clip(video, spec=spec(), sampling=plain, rng=None))
    assert len(short) == 1


def test_windows_of_a_long_video_are_further_apart(tmp_path: Path) -> None:
    long = write_video(tmp_path / "long.avi", frames=300)
    assert len(load_windows(long, span=0.1, spec=spec(), sampling=sampling(2, PLAIN))) == MOST_WINDOWS
