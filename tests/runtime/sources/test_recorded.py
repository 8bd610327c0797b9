from __future__ import annotations

from itertools import repeat
from pathlib import Path

import cv2
import numpy as np
import pytest

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.sources import Frame, open_source
from stpr.runtime.sources.files import FOLDER_FPS, RecordedSource, at_rate
from tests.factories import make_video
from tests.runtime.varying import make_varying


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
@pytest.mark.parametrize("fps", [8.0, 29.97])
def test_every_frame_of_a_file_at_its_media_time(tmp_path: Path, suffix: str, fps: float) -> None:
    source = open_source(str(make_video(tmp_path / f"clip{suffix}", frames=20, fps=fps)))
    frames = list(source)
    assert [frame.index for frame in frames] == list(range(20))
    assert [frame.captured_at for frame in frames] == pytest.approx([index / fps for index in range(20)], rel=1e-4)
    assert not source.origin.is_live
    assert source.origin.fps == pytest.approx(fps, rel=1e-4)
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}


@pytest.mark.parametrize(
    "lengths",
    [[40] * 20, [40, 80] * 10, [34 + 2 * (index % 5) for index in range(20)], [40] * 9 + [60000] + [40] * 10],
    ids=["constant", "alternating", "uneven", "pause"],
)
def test_frames_come_at_the_times_that_the_file_gives_them(tmp_path: Path, lengths: list[int]) -> None:
    frames = list(open_source(str(make_varying(tmp_path / "clip.mp4", lengths))))
    times = np.cumsum([0, *lengths[:-1]]) / 1000
    assert [frame.captured_at for frame in frames] == pytest.approx(times, abs=1e-3)
    assert [frame.media_time for frame in frames] == pytest.approx(times, abs=1e-3)
    # Each frame stands until the next; what comes before a pause, about as long as its neighbours.
    stands = [min(length, 80) / 1000 for length in lengths[:-1]]
    assert [frame.stands for frame in frames[:-1]] == pytest.approx(stands, abs=1e-3)


def test_frames_without_times_of_their_own_follow_at_the_rate_of_the_file(tmp_path: Path) -> None:
    source = open_source(str(make_varying(tmp_path / "clip.mp4", [0] * 20)))
    assert [frame.captured_at * (source.origin.fps or 0) for frame in source] == pytest.approx(range(20))


def test_frames_are_rgb(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "red.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 8, (32, 32))
    for _ in range(3):
        writer.write(np.full((32, 32, 3), (0, 0, 255), np.uint8))  # OpenCV writes BGR
    writer.release()
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "red.png"), np.full((32, 32, 3), (0, 0, 255), np.uint8))
    for uri in (tmp_path / "red.avi", tmp_path / "images"):
        red, green, blue = next(iter(open_source(str(uri)))).image.mean(axis=(0, 1))
        assert red > 240
        assert max(green, blue) < 15


def test_images_of_a_folder_come_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 9, 100, 1):
        cv2.imwrite(str(tmp_path / f"frame{number}.png"), np.full((4, 4, 3), number, np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    frames = list(open_source(str(tmp_path)))
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [1, 9, 10, 100]
    assert [frame.captured_at for frame in frames] == [index / FOLDER_FPS for index in range(4)]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_that_was_cut_short_is_no_shorter_file(tmp_path: Path, share: float) -> None:
    whole = make_video(tmp_path / "whole.avi", frames=60).read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole[: int(len(whole) * share)])
    seen: list[Frame] = []
    with pytest.raises(SourceError, match=r"cut\.avi ended after \d+ of the 60 frames it announces"):
        seen.extend(open_source(str(cut)))
    assert 0 < len(seen) < 60


@pytest.mark.parametrize(
    ("frames", "announced", "accepted"), [(21, 24, True), (21, 25, False), (150, 157, True), (150, 159, False)]
)
def test_the_margin_is_for_estimates_only(tmp_path: Path, frames: int, announced: int, *, accepted: bool) -> None:
    whole = make_video(tmp_path / "whole.avi", frames=frames).read_bytes()
    # The frame count in the header of an AVI (dwTotalFrames and dwLength), too high: as an estimate may be.
    right, wrong = frames.to_bytes(4, "little"), announced.to_bytes(4, "little")
    assert whole[:256].count(right) == 2
    (tmp_path / "guess.avi").write_bytes(whole[:256].replace(right, wrong) + whole[256:])
    source = open_source(str(tmp_path / "guess.avi"))
    if accepted:
        assert len(list(source)) == frames
    else:
        with pytest.raises(SourceError, match=f"ended after {frames} of the {announced} frames"):
            list(source)


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(SourceError, match=r"clip\.mp4 can't be decoded"):
        open_source(str(tmp_path / "clip.mp4"))


def test_images_that_are_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no images"):
        open_source(str(tmp_path))
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(SourceError, match=r"a\.png can't be decoded as an image"):
        list(open_source(str(tmp_path)))


def test_stop_ends_the_iteration_at_the_next_frame() -> None:
    source = RecordedSource("endless", at_rate(repeat(np.zeros((2, 2, 3), np.uint8)), 10), fps=10)
    seen = []
    for frame in source:
        seen.append(frame.index)
        if frame.index == 4:
            source.stop()
    assert seen == [0, 1, 2, 3, 4]


def test_real_videos_decode_to_the_last_frame(shared_data: Path) -> None:
    for path in sorted((shared_data / "videos").iterdir()):
        announced = cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT)
        source = open_source(str(path))
        last = max(frame.index for frame in source)
        assert last + 1 == announced, path.name
        assert 25 <= (source.origin.fps or 0) <= 30


def test_real_videos_cut_short_are_refused(shared_data: Path, tmp_path: Path) -> None:
    for path in sorted((shared_data / "videos").iterdir()):
        cut = tmp_path / path.name
        with path.open("rb") as file:
            cut.write_bytes(file.read(int(0.6 * path.stat().st_size)))
        with pytest.raises(SourceError, match=path.stem):
            list(open_source(str(cut)))
