"""Films that were cut without re-encoding hold more frames than they show, and are whole; FFmpeg cuts them here."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.contract.mp4 import frames_shown, seconds_shown, shows_none
from stpr.runtime.sources import open_source

FFMPEG = shutil.which("ffmpeg")
pytestmark = pytest.mark.skipif(FFMPEG is None, reason="FFmpeg's command is not installed")


def ffmpeg(*words: str | Path) -> None:
    subprocess.run([str(FFMPEG), "-v", "error", "-y", *map(str, words)], check=True)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds with a key frame a second, B-frames and sound."""
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    picture, sound = "testsrc2=size=64x48:rate=20:duration=4", "sine=duration=4"
    ffmpeg("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, "-c:v", "libx264", "-g", "20", "-bf", "3", path)
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
@pytest.mark.parametrize("flags", ["+faststart", "0"])
def test_a_film_that_begins_within_a_group_is_whole(film: Path, tmp_path: Path, suffix: str, flags: str) -> None:
    ffmpeg("-ss", "1.3", "-i", film, "-c", "copy", "-movflags", flags, tmp_path / f"cut.{suffix}")
    assert seconds_shown(tmp_path / f"cut.{suffix}") == pytest.approx(2.7, abs=0.06)
    source = open_source(str(tmp_path / f"cut.{suffix}"))
    frames = list(source)
    assert len(frames) == pytest.approx(54, abs=1)
    assert source.seconds == pytest.approx(2.7, abs=0.06)  # type: ignore[attr-defined]


def test_one_that_lost_its_end_is_not(film: Path, tmp_path: Path) -> None:
    ffmpeg("-ss", "1.3", "-i", film, "-c", "copy", "-movflags", "+faststart", tmp_path / "cut.mp4")
    content = (tmp_path / "cut.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) * 2 // 3])
    source = open_source(str(tmp_path / "cut.mp4"))
    with pytest.raises(SourceError, match=r"ended after \d+ of the 5\d frames it announces: it is damaged, cut short"):
        list(source)


def test_one_that_shows_nothing_is_not_called_a_codec(film: Path, tmp_path: Path) -> None:
    ffmpeg("-ss", "3.99", "-i", film, "-c", "copy", "-an", tmp_path / "cut.mp4")
    seconds = seconds_shown(tmp_path / "cut.mp4")
    assert shows_none(20, seconds)
    source = open_source(str(tmp_path / "cut.mp4"))
    with pytest.raises(SourceError, match=r"cut\.mp4 shows nothing: its edit list leaves out every frame, .* NEW\.mp4"):
        list(source)


@pytest.mark.parametrize(("seconds", "frames", "none"), [(None, 60, False), (0.0, 0, True), (2.7, 54, False)])
def test_frames_that_are_shown_are_counted_by_what_the_list_says(
    seconds: float | None, frames: int, none: bool
) -> None:
    assert frames_shown(60, 20.0, seconds) == frames
    assert frames_shown(50, 20.0, seconds) == min(50, frames)
    assert shows_none(20.0, seconds) == none


def test_what_is_no_mp4_or_holds_no_list_says_nothing(film: Path, tmp_path: Path) -> None:
    ffmpeg("-i", film, "-c", "copy", tmp_path / "film.mkv")
    assert seconds_shown(tmp_path / "film.mkv") is None
    assert seconds_shown(tmp_path / "missing.mp4") is None
    ffmpeg("-i", film, "-c", "copy", "-movflags", "frag_keyframe+empty_moov", tmp_path / "growing.mp4")
    assert seconds_shown(tmp_path / "growing.mp4") is None
    content = film.read_bytes()
    moov = content.index(b"moov") - 4
    for size in range(moov, len(content), 97):
        (tmp_path / "short.mp4").write_bytes(content[:size])
        assert (seconds_shown(tmp_path / "short.mp4") or 4.0) == pytest.approx(4.0, abs=0.1)


@pytest.mark.parametrize(
    "begin", [b"\0\0\0\1" + b"h264" + b"\xff" * 8, b"\xff" * 8, b"\0\0\0\1free" + b"\x7f" + b"\xff" * 7]
)
def test_what_begins_with_a_size_that_is_none_says_nothing(tmp_path: Path, begin: bytes) -> None:
    (tmp_path / "stream.h264").write_bytes(begin + bytes(100))  # raw H.264 begins so
    assert seconds_shown(tmp_path / "stream.h264") is None


def test_a_list_that_claims_more_stretches_than_it_has_room_for_is_read_at_once(film: Path, tmp_path: Path) -> None:
    ffmpeg("-ss", "1.3", "-i", film, "-c", "copy", tmp_path / "cut.mp4")
    content = bytearray((tmp_path / "cut.mp4").read_bytes())
    at = content.index(b"elst") + 8
    content[at : at + 4] = b"\xff" * 4
    (tmp_path / "cut.mp4").write_bytes(content)
    begun = time.monotonic()
    assert seconds_shown(tmp_path / "cut.mp4") == pytest.approx(2.7, abs=0.06)
    assert time.monotonic() - begun < 1
