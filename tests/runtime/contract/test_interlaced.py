"""Interlaced films: where OpenCV hands out memory in place of pictures, training and live runs say so."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from stpr.runtime.contract.errors import DataError, SourceError
from stpr.runtime.contract.interlaced import shows_memory
from stpr.runtime.sources import open_source
from stpr.train.data.videos import VideoFile
from tests.factories import make_video

FILM = "testsrc2=size={}:rate=25:duration=0.4"
INTERLACED = ("-flags", "+ilme+ildct")


def film(path: Path, size: str, *codec: str) -> Path:
    if (ffmpeg := shutil.which("ffmpeg")) is None:
        pytest.skip("ffmpeg is not installed")
    command = [ffmpeg, "-v", "error", "-y", "-f", "lavfi", "-i", FILM.format(size), *codec, str(path)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this ffmpeg can't write it")
    return path


def pictures(path: Path) -> list[np.ndarray]:
    with VideoFile(path) as video:
        return [picture for _, picture in video.frames(range(100))]


@pytest.mark.parametrize("size", ["160x120", "1280x720"])
@pytest.mark.parametrize(("name", "codec"), [("a.mpg", "mpeg2video"), ("a.MTS", "libx264"), ("b.ts", "mpeg2video")])
def test_an_interlaced_film_is_seen_as_it_is_or_refused_in_one_line(
    tmp_path: Path, name: str, codec: str, size: str
) -> None:
    path = film(tmp_path / name, size, "-c:v", codec, *INTERLACED)
    if not shows_memory(str(path)):  # as in OpenCV 4
        assert len({picture.tobytes() for picture in pictures(path)}) == 10
        return
    said = r"is interlaced, and the OpenCV here \(5.*\) can't convert that; convert it: ffmpeg -i OLD -vf yadif NEW.mp4"
    with pytest.raises(DataError, match=said):
        pictures(path)
    with pytest.raises(SourceError, match=said):
        open_source(str(path))
    converted = tmp_path / "new.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(path), "-vf", "yadif", str(converted)], check=True)
    assert len({picture.tobytes() for picture in pictures(converted)}) == 10


def test_a_film_of_moving_pictures_is_its_own(tmp_path: Path) -> None:
    assert not shows_memory(str(make_video(tmp_path / "a.mp4")))


@pytest.mark.parametrize("grey", [0, 128])
@pytest.mark.parametrize("count", [1, 2, 9])
def test_so_is_one_that_stands_still_or_is_black(tmp_path: Path, grey: int, count: int) -> None:
    path = tmp_path / "still.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 8.0, (64, 48))
    for _ in range(count):
        writer.write(np.full((48, 64, 3), grey, np.uint8))
    writer.release()
    assert not shows_memory(str(path))
    assert len(pictures(path)) == count


def test_nothing_to_see_is_not_told_here(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    assert not shows_memory(str(tmp_path / "a.mp4"))
