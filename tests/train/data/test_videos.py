from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stpr.runtime.contract.errors import DataError
from stpr.runtime.contract.preprocess import Image
from stpr.train.data.videos import VideoFile, VideoInfo, check_all, content_digest, probe

FRAMES, RATE = 60, 25.0


def write_video(path: Path, codec: str = "MJPG", frames: int = FRAMES) -> Path:
    """Frame i is a plain red of strength 4 i, so that each frame tells its number and the order of the channels."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), RATE, (64, 48))
    assert writer.isOpened()
    noise = np.random.default_rng(0).integers(0, 40, (48, 64), dtype=np.uint8)
    for index in range(frames):
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[:, :, 2] = 4 * index
        picture[:, :, 1] = noise  # something to compress
        writer.write(picture)
    writer.release()
    return path


def facts(info: VideoInfo) -> tuple[int, float]:
    return info.frames, info.fps


def number_of(picture: Image) -> int:
    return round(float(picture[:, :, 0].mean()) / 4)


def numbers(path: Path, indices: set[int]) -> list[int]:
    with VideoFile(path) as opened:
        return [number_of(picture) for _, picture in opened.frames(indices)]


def cut(path: Path, part: float) -> Path:
    whole = path.read_bytes()
    shorter = path.with_name(f"cut{path.suffix}")
    shorter.write_bytes(whole[: int(len(whole) * part)])
    return shorter


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("videos") / "video.avi")


@pytest.mark.parametrize(
    ("name", "codec"), [("a.avi", "MJPG"), ("a.avi", "XVID"), ("a.mp4", "mp4v"), ("a.mkv", "XVID"), ("a.webm", "VP80")]
)
def test_intact_videos_of_every_container(tmp_path: Path, name: str, codec: str) -> None:
    path = write_video(tmp_path / name, codec)
    info = probe(path)
    assert info.frames == FRAMES
    assert info.fps == pytest.approx(RATE, rel=1e-3)
    assert info.seconds == pytest.approx(FRAMES / RATE, rel=1e-3)
    assert numbers(path, {0, 17, 59}) == pytest.approx([0, 17, 59], abs=1)


@settings(max_examples=25, deadline=None)
@given(indices=st.sets(st.integers(0, FRAMES - 1), max_size=12))
def test_frames_come_as_asked(video: Path, indices: set[int]) -> None:
    assert numbers(video, indices) == sorted(indices)
    with VideoFile(video) as opened:
        pictures = [picture for _, picture in opened.frames(indices)]
    for picture in pictures:
        assert picture.shape == (48, 64, 3)
        assert picture.dtype == np.uint8
        assert picture[:, :, 2].mean() < 30  # red came first: RGB


def test_wanted_frames_come_in_order_and_once(video: Path) -> None:
    with VideoFile(video) as opened:
        found = list(opened.frames([40, 3, 40, 1000]))
        assert [index for index, _ in found] == [3, 40]
        assert facts(opened.info()) == pytest.approx((FRAMES, RATE), rel=1e-3)


@pytest.mark.parametrize(
    ("name", "codec", "part", "message"),
    [
        ("a.avi", "MJPG", 0.5, "announces 60 frames but ends after [23][0-9]:"),
        ("a.avi", "XVID", 0.9, "announces 60 frames but ends after 5[0-9]:"),
        ("a.mkv", "XVID", 0.5, "announces 60 frames but ends after"),
        ("a.webm", "VP80", 0.9, "announces 60 frames but ends after"),
        ("a.mp4", "mp4v", 0.5, "can't be opened"),  # its index is at the end
        ("a.avi", "MJPG", 0.0, "is empty"),
    ],
)
def test_a_video_that_is_cut_off_is_named(tmp_path: Path, name: str, codec: str, part: float, message: str) -> None:
    shorter = cut(write_video(tmp_path / name, codec), part)
    with pytest.raises(DataError, match=message) as caught:
        probe(shorter)
    assert str(shorter) in caught.value.message
    assert "\n" not in caught.value.message


def test_a_video_damaged_inside_is_named(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", "mp4v")
    raw = bytearray(path.read_bytes())
    data = raw.find(b"mdat")
    middle = data + (raw.find(b"moov") - data) // 2
    raw[middle : middle + 3000] = b"\xff" * 3000
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"a\.mp4 announces 60 frames but ends after"):
        probe(path)


def claim_rate(path: Path, rate: int) -> Path:
    """Write another rate into a Matroska file (its element DefaultDuration), as files of a varying rate bear."""
    raw = bytearray(path.read_bytes())
    start = raw.find(b"\x23\xe3\x83")
    size = raw[start + 3] & 0x7F
    raw[start + 4 : start + 4 + size] = (10**9 // rate).to_bytes(size, "big")
    path.write_bytes(raw)
    return path


def test_a_count_estimated_from_a_wrong_rate_is_not_believed(tmp_path: Path) -> None:
    path = claim_rate(write_video(tmp_path / "a.mkv", "XVID"), 50)
    with VideoFile(path) as opened:
        assert opened.announced == 2 * FRAMES
    assert facts(probe(path)) == pytest.approx((FRAMES, RATE), rel=1e-3)
    with pytest.raises(DataError, match="announces 120 frames but ends after"):
        probe(cut(path, 0.8))


def test_a_container_without_frames_is_named(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi")
    raw = path.read_bytes()
    path.write_bytes(raw[: raw.find(b"movi") + 4])
    with pytest.raises(DataError, match=r"a\.avi has no frame that can be decoded"):
        probe(path)


def test_an_absurd_rate_is_named(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi")
    raw = bytearray(path.read_bytes())
    rate = raw.find(b"strh") + 32
    raw[rate : rate + 4] = (10**6 * int.from_bytes(raw[rate - 4 : rate], "little")).to_bytes(4, "little")
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"a\.avi has no usable frame rate \(1000000"):
        probe(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "is missing"), (b"no video", "can't be opened"), (b"", "is empty; copy or record it again, or put it on")],
)
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "video_001.mp4"  # digits: OpenCV would try it as a sequence of images
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        probe(path)


def test_what_is_damaged_can_be_mended_or_skipped(video: Path) -> None:
    with pytest.raises(
        DataError, match=r"repair it .* or put it on the skip list \(\[data\] skip\), and continue with --resume"
    ):
        probe(cut(video, 0.5))


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(f"the video {tmp_path} can't be read (Is a directory); check")):
        content_digest(tmp_path)


QUIET = """
import sys
from pathlib import Path
from stpr.runtime.contract.errors import DataError
from stpr.train.data.videos import probe, quiet_decoder
if sys.argv[2] == "quiet":
    quiet_decoder()
try:
    probe(Path(sys.argv[1]))
except DataError as error:
    print(error.message)
"""


def test_the_decoder_can_be_kept_quiet(tmp_path: Path) -> None:
    shorter = cut(write_video(tmp_path / "a.mp4", "mp4v"), 0.5)
    noise = {}
    loud = {name: value for name, value in os.environ.items() if name != "OPENCV_FFMPEG_LOGLEVEL"}
    for mode in ("loud", "quiet"):
        done = subprocess.run(
            [sys.executable, "-c", QUIET, str(shorter), mode], capture_output=True, text=True, check=True, env=loud
        )
        assert "can't be opened" in done.stdout
        noise[mode] = done.stderr
    assert "moov atom not found" in noise["loud"]
    assert noise["quiet"] == ""


def test_real_videos_hold_what_they_announce(shared_data: Path) -> None:
    counts = {path.name: probe(path).frames for path in sorted((shared_data / "videos").iterdir())}
    assert counts == {
        "mmaction2_S001C001P001R001A001_rgb.avi": 103,
        "mmaction2_demo.mp4": 280,
        "mmaction2_demo_skeleton.mp4": 72,
        "mmaction2_part_0.mp4": 32,
        "mmaction2_part_1.mp4": 32,
        "mmaction2_test.avi": 164,
        "mmaction2_test.mp4": 300,
    }


@pytest.mark.parametrize(("name", "part"), [("mmaction2_test.avi", 0.5), ("mmaction2_test.avi", 0.9)])
def test_a_real_video_cut_off_is_named(shared_data: Path, tmp_path: Path, name: str, part: float) -> None:
    path = tmp_path / name
    path.write_bytes((shared_data / "videos" / name).read_bytes())
    with pytest.raises(DataError, match="announces 164 frames but ends after"):
        probe(cut(path, part))


def test_real_clips_are_all_alike(shared_data: Path) -> None:
    for folder in sorted((shared_data / "asl24" / "clips").iterdir()):
        assert facts(probe(min(folder.iterdir()))) == pytest.approx((32, 30.0), rel=1e-3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds, a key frame every two."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg here")
    file = tmp_path_factory.mktemp("whole") / "whole.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=12", "-c:v", "mpeg4", "-g", "50", str(file))
    return file


def ffmpeg(*arguments: str) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], check=True, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("suffix", ["mkv", "avi", "mov", "mp4"])
def test_pieces_that_were_cut_without_re_encoding_are_intact_and_last_as_long_as_they_do(
    whole: Path, tmp_path: Path, suffix: str
) -> None:
    pieces = tmp_path / f"%d.{suffix}"
    ffmpeg("-i", str(whole), "-c", "copy", "-f", "segment", "-segment_time", "4", str(pieces))
    for piece in sorted(tmp_path.iterdir()):
        info = probe(piece)
        assert (info.frames, round(info.seconds, 2)) == (100, 4.0), piece.name


def test_a_piece_that_is_cut_off_is_still_noticed(whole: Path, tmp_path: Path) -> None:
    ffmpeg("-i", str(whole), "-c", "copy", "-f", "segment", "-segment_time", "4", str(tmp_path / "%d.mkv"))
    with pytest.raises(DataError, match="announces 200 frames but ends after"):
        probe(cut(tmp_path / "1.mkv", 0.5))


def test_a_codec_that_can_not_be_decoded_is_named(whole: Path, tmp_path: Path) -> None:
    video = tmp_path / "video.mp4"
    try:
        ffmpeg("-i", str(whole), "-frames:v", "5", "-c:v", "libaom-av1", "-cpu-used", "8", str(video))
    except subprocess.CalledProcessError:
        pytest.skip("this ffmpeg can't write AV1")
    try:
        probe(video)
    except DataError as error:  # not every OpenCV lacks the codec
        assert "no frame that can be decoded: it is in the codec AV1, which OpenCV" in error.message  # noqa: PT017


def test_a_name_that_is_not_utf8_is_told_and_ends_no_process(video: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"x\xff.avi")
    shutil.copy(video, odd)
    with pytest.raises(DataError, match=r"the path /.*x\\xff\.avi is not in UTF-8; rename"):
        probe(odd)


def test_what_can_not_be_read_is_not_called_damaged(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(video))

    monkeypatch.setattr(Path, "open", refuse)  # root may read everything
    with pytest.raises(DataError, match=r"can't be read \(Permission denied\); check its permissions") as caught:
        probe(video)
    with pytest.raises(DataError, match=r"^2 videos can't be used: .* check its permissions") as both:
        check_all([caught.value] * 2)
    assert "re-encode" not in both.value.message


@pytest.mark.parametrize(
    ("suffix", "late"),
    [
        *((suffix, ("-copyts",)) for suffix in ("mkv", "mov", "mp4")),
        *((suffix, ("-output_ts_offset", "3600")) for suffix in ("mkv", "mov", "mp4")),
        ("mkv", ("-avoid_negative_ts", "disabled")),
    ],
)
def test_a_cut_lasts_as_long_as_its_frames_whatever_time_its_first_one_has(
    whole: Path, tmp_path: Path, suffix: str, late: tuple[str, ...]
) -> None:
    piece = tmp_path / f"piece.{suffix}"
    begin = "3" if "disabled" in late else "4"  # from the key frame at 2 on, times below 0
    ffmpeg("-ss", begin, "-t", "4", "-i", str(whole), "-c", "copy", *late, str(piece))
    info = probe(piece)
    assert info.fps == pytest.approx(25, rel=0.04)
    assert info.frames == 25 * (5 if "disabled" in late else 4)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds with a key frame a second, B-frames and sound, as phones and editors write them."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg here")
    file = tmp_path_factory.mktemp("films") / "film.mp4"
    picture, sound = "testsrc2=size=64x48:rate=20:duration=4", "sine=duration=4"
    codec = ("-c:v", "libx264", "-g", "20", "-bf", "3")
    ffmpeg("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, *codec, str(file))
    return file


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
@pytest.mark.parametrize("flags", ["+faststart", "0"])
def test_a_cut_that_begins_within_a_group_lasts_as_long_as_its_edit_list_says(
    film: Path, tmp_path: Path, suffix: str, flags: str
) -> None:
    piece = tmp_path / f"piece.{suffix}"
    ffmpeg("-ss", "1.3", "-i", str(film), "-c", "copy", "-movflags", flags, str(piece))
    with VideoFile(piece) as opened:
        assert opened.announced == pytest.approx(54, abs=1)  # the file holds 60
    info = probe(piece)
    assert (info.frames, info.seconds) == pytest.approx((54, 2.7), abs=1)
    content = piece.read_bytes()
    if flags == "+faststart":  # the index is at the front
        piece.write_bytes(content[: len(content) * 2 // 3])
        with pytest.raises(DataError, match=r"announces 5\d frames but ends after"):
            probe(piece)


def test_a_cut_that_shows_nothing_is_not_called_a_codec(film: Path, tmp_path: Path) -> None:
    ffmpeg("-ss", "3.99", "-i", str(film), "-c", "copy", "-an", str(tmp_path / "piece.mp4"))
    with pytest.raises(DataError, match=r"piece\.mp4 shows nothing: its edit list leaves out every frame, .* NEW\.mp4"):
        probe(tmp_path / "piece.mp4")


@pytest.mark.parametrize("begins", ["0", "2"], ids=["from zero", "further"])
def test_a_change_of_codec_within_a_video_is_told(begins: str, tmp_path: Path) -> None:
    """Whether its times go on there or begin again; then it announces the frames of the first part alone."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg here")
    parts = [tmp_path / "a.ts", tmp_path / "b.ts"]
    picture = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=2"]
    for part, codec, begin in zip(parts, ("mpeg4", "mpeg2video"), ("0", begins), strict=True):
        ffmpeg(*picture, "-c:v", codec, "-output_ts_offset", begin, str(part))
    (tmp_path / "both.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.raises(DataError, match=r"both\.ts changes its codec after \d+ frames, .*; split it there, or"):
        probe(tmp_path / "both.ts")
