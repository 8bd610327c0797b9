from __future__ import annotations

import os
import shutil
import subprocess
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np
import pytest

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.sources import Frame, open_source
from stpr.runtime.sources.files import FOLDER_FPS, RecordedSource, at_rate, open_recorded
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


@pytest.mark.parametrize(("content", "said"), [(b"", "is empty"), (b"no video at all" * 100, "can't be decoded")])
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(SourceError, match=rf"clip\.mp4 {said}"):
        open_source(str(tmp_path / "clip.mp4"))


def test_images_that_are_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="has no images"):
        open_source(str(tmp_path))
    (tmp_path / "a.png").write_bytes(b"no image")
    (tmp_path / "b.png").touch()
    with pytest.raises(SourceError, match=r"^none of the 2 images of .* can be decoded; replace them\.$"):
        list(open_source(str(tmp_path)))


@pytest.mark.parametrize("fault", ["no image", "empty", "cut", "dangling", "first", "last"])
def test_one_bad_picture_is_told_counted_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((4, 4, 3), 20 * number, np.uint8))
    bad = {"first": 0, "last": 11}.get(fault, 5)
    file = tmp_path / f"{bad}.png"
    whole = file.read_bytes()
    file.unlink()
    if fault == "dangling":
        file.symlink_to("nowhere")
    else:
        file.write_bytes({"empty": b"", "cut": whole[:20]}.get(fault, b"no image"))
    source = open_recorded(tmp_path)
    frames = list(source)
    left = [number for number in range(12) if number != bad]
    assert [int(frame.image[0, 0, 0]) // 20 for frame in frames] == left
    assert [frame.index for frame in frames] == left  # its place stays empty
    assert [frame.captured_at for frame in frames] == [number / FOLDER_FPS for number in left]
    assert source.skipped == 1
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith(f"{file} can't be read and is skipped: ")
    assert "\n" not in said


def test_hidden_files_and_folders_are_no_pictures(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "._1.png").write_bytes(b"what another system keeps beside each picture")
    os.mkfifo(tmp_path / "pipe.jpg")  # to read it would wait for ever
    (tmp_path / ".hidden.jpg").write_bytes((tmp_path / "1.png").read_bytes())
    (tmp_path / "more.png").mkdir()
    source = open_recorded(tmp_path)
    assert len(list(source)) == 1
    assert source.skipped == 0


NAMES = [
    b"caf\xe9",
    b"\xff",
    b"a:b",
    b"file:x",
    b"http:x",
    b"7",
    b"-x",
    b"%03d",
    b"new\nline",
    "\u00fc".encode(),
    b"a b",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["video", "folder", "pictures", "link"])
def test_a_name_is_but_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    plain = make_video(tmp_path / "plain.mp4")
    path = Path(os.fsdecode(name))
    if kind == "video":
        shutil.copy(plain, path)
    elif kind == "link":
        path.symlink_to(plain)
    else:
        path.mkdir()
        picture = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
        for number in range(24):
            (path / f"{os.fsdecode(name) if kind == 'pictures' else ''}{number}.png").write_bytes(picture)
    for uri in (f"./{path}", str(tmp_path / path), str(path)):
        if uri == "7":
            continue  # a camera
        source = open_source(uri)
        assert len(list(source)) == 24
        source.origin.name.encode()


def test_a_path_may_look_like_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("http:").mkdir()
    make_video(tmp_path / "http:" / "clip.mp4")
    assert len(list(open_source("./http://clip.mp4"))) == 24


@pytest.mark.parametrize("uri", ["caf\udce9.mp4", "./\udce9", "/nowhere/\udce9", "v4l2:///dev/\udce9", "\udce9://x"])
def test_a_name_that_is_no_text_and_not_there_is_one_line_of_text(uri: str) -> None:
    with pytest.raises(SourceError, match=r"\\xe9") as caught:
        open_source(uri)
    caught.value.message.encode()


def test_an_address_that_is_no_text_is_one_line_without_credentials() -> None:
    with pytest.raises(SourceError, match=r"^http://\*\*\*@host/\\xe9 is not a valid address: .* such bytes as %NN\.$"):
        open_source("http://me:secret@host/\udce9")


def test_what_is_there_and_no_video_is_named_as_text(tmp_path: Path) -> None:
    (tmp_path / "\udce9.mp4").write_bytes(b"no video")
    with pytest.raises(SourceError, match=r"\\xe9\.mp4 can't be decoded"):
        open_source(str(tmp_path / "\udce9.mp4"))


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


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="FFmpeg's command is not installed")
def test_a_codec_that_is_not_known_is_named_and_not_called_damage(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    command = f"ffmpeg -v quiet -f lavfi -i testsrc2=size=64x64:rate=5:duration=1 -c:v libaom-av1 -cpu-used 8 {film}"
    if subprocess.run(command.split(), check=False).returncode:
        pytest.skip("this FFmpeg does not write AV1")
    device = cv2.VideoCapture(str(film))
    if device.grab():
        pytest.skip("this OpenCV reads AV1")
    source = open_source(str(film))
    with pytest.raises(SourceError, match=r"can't decode any frame of it: its codec is AV1; convert it: ffmpeg"):
        list(source)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="FFmpeg's command is not installed")
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_file_whose_time_begins_late_is_whole(tmp_path: Path, share: float) -> None:
    """As a network recorder cuts them; the container counts frames from time zero."""
    video, late = make_video(tmp_path / "clip.avi", frames=60, fps=15), tmp_path / "late.mkv"
    command = ["ffmpeg", "-v", "error", "-i", str(video), "-c:v", "mpeg4", "-output_ts_offset", "1000", str(late)]
    subprocess.run(command, check=True)
    content = late.read_bytes()
    late.write_bytes(content[: round(share * len(content))])
    seen: list[Frame] = []
    if share == 1.0:
        seen += open_recorded(late)
        assert len(seen) == 60
        assert seen[0].media_time == 0
        return
    with pytest.raises(SourceError, match=r"ended after \d+ of the 60 frames it announces"):
        seen += open_recorded(late)
