from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.sources.y4m import RawFrames

WIDTH, HEIGHT = 33, 35
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="FFmpeg's command is not installed")


def picture() -> Image:
    """Slow changes of all colours, of an odd size."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([40 + 5 * x, 40 + 5 * y, 220 - 3 * x - 2 * y], axis=2).astype(np.uint8)


def written(tmp_path: Path, *options: str) -> bytes:
    """Two frames of the picture as FFmpeg writes them."""
    cv2.imwrite(str(tmp_path / "picture.png"), picture()[..., ::-1])
    command = ["ffmpeg", "-v", "error", "-loop", "1", "-i", str(tmp_path / "picture.png"), "-frames:v", "2"]
    command += ["-strict", "-1", *options, "-f", "yuv4mpegpipe", "-"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def frames(sent: bytes, piece: int = 1000) -> list[Image | None]:
    file = io.BytesIO(sent)
    raw = RawFrames(lambda: file.read(piece))
    return [raw.decoded(frame) for frame in raw]


@needs_ffmpeg
@pytest.mark.parametrize("full", [False, True], ids=["studio", "full"])
@pytest.mark.parametrize("kind", ["yuv420p", "yuv422p", "yuv444p", "yuv411p", "gray"])
def test_a_frame_has_the_colours_that_it_was_made_of(tmp_path: Path, kind: str, full: bool) -> None:
    levels = "full" if full or kind == "gray" else "limited"
    options = ("-vf", f"scale=out_range={levels}", "-color_range", "pc" if levels == "full" else "tv")
    found = frames(written(tmp_path, *options, "-pix_fmt", kind))
    assert len(found) == 2
    wanted = picture() if kind != "gray" else cv2.cvtColor(cv2.cvtColor(picture(), 7), cv2.COLOR_GRAY2RGB)
    for image in found:
        assert image is not None
        assert image.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(image.astype(int) - wanted).mean() < 6  # colours are shared by up to four pixels


@needs_ffmpeg
def test_ten_bits_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"has frames of kind 420p10, known are 420, .*, mono of 8 bits; let"):
        frames(written(tmp_path, "-pix_fmt", "yuv420p10le"))


@pytest.mark.parametrize("piece", [1, 7, 10**6])
def test_frames_are_found_however_they_are_sent(piece: int) -> None:
    grey = [bytes([level]) * 6 for level in (16, 235, 126)]
    sent = b"YUV4MPEG2 W3 H2 F25:1 Cmono Xanything\n" + b"".join(b"FRAME Xmore\n" + frame for frame in grey)
    *found, cut_off = frames(sent + b"FRAME\n\x10\x10", piece)
    assert cut_off is None
    whole = [image for image in found if image is not None]
    assert [int(image.mean() + 0.5) for image in whole] == [0, 255, 128]
    assert [image.shape for image in whole] == [(2, 3, 3)] * 3


def test_what_follows_no_frame_is_the_end() -> None:
    assert len(frames(b"YUV4MPEG2 W2 H1 Cmono\nFRAME\nabjunk" + bytes(5000))) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("W3", r"says no size \(W… H…\) in its first line"),
        ("W-3 H2", "says no size"),
        ("W3 H2 C9", "has frames of kind 9, known are"),
        ("W0 H2", "has frames of 0 x 2; let FFmpeg make them smaller"),
        ("W99999 H99999", "has frames of 99999 x 99999; let"),
        (2000 * "x", "says no size"),
    ],
)
def test_a_first_line_that_means_nothing_is_one_line(line: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        frames(f"YUV4MPEG2 {line}\nFRAME\n".encode())
