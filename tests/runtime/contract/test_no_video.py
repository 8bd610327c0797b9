"""Files that are found in place of a video are named for what they are, in training, at the device and behind a URL."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import re
import shutil
import subprocess
import tarfile
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from stpr.runtime.contract.errors import DataError, SourceError
from stpr.runtime.contract.no_video import why_no_video
from stpr.runtime.sources import open_source
from stpr.train.data.videos import VideoFile

FFMPEG = shutil.which("ffmpeg")


def zipped(content: bytes) -> bytes:
    with zipfile.ZipFile(packed := io.BytesIO(), "w") as archive:
        archive.writestr("clip.mp4", content)
    return packed.getvalue()


def tarred(content: bytes) -> bytes:
    with tarfile.open(fileobj=(packed := io.BytesIO()), mode="w") as archive:
        archive.addfile(tarfile.TarInfo("clip.mp4"), io.BytesIO(content))
    return packed.getvalue()


def sounding(content: bytes) -> bytes:
    with wave.open(made := io.BytesIO(), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(content)
    return made.getvalue()


KINDS: list[tuple[Callable[[bytes], bytes], str]] = [
    (gzip.compress, "is compressed by gzip; unpack it first"),
    (bz2.compress, "is compressed by bzip2; unpack it first"),
    (lzma.compress, "is compressed by xz; unpack it first"),
    (zipped, "is a zip archive; unpack it first"),
    (tarred, "is a tar archive; unpack it first"),
    (sounding, "has sound, but no picture; name a video"),
    (lambda _: b"%PDF-1.7 ...", "is a PDF; name a video"),
    (
        lambda _: b"\n<!DOCTYPE html><title>Log in</title>",
        "is a web page, which a download that needs",
    ),
    (lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
    (lambda content: b"\0" * len(content), "begins with zeros, as after an interrupted download; copy it again"),
]


@pytest.mark.parametrize(("make", "words"), KINDS)
def test_what_it_is_instead_is_named(tmp_path: Path, make: Callable[[bytes], bytes], words: str) -> None:
    file = tmp_path / "clip.mp4"
    file.write_bytes(make(bytes(range(256)) * 8))
    with pytest.raises(SourceError, match=rf"clip\.mp4 .*{re.escape(words)}") as device:
        open_source(str(file))
    with pytest.raises(DataError, match=rf"clip\.mp4 .*{re.escape(words)}.*skip list") as training:
        VideoFile(file)
    assert "damaged" not in device.value.message + training.value.message


def test_what_can_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no video at all")

    def refuse(*_: object, **__: object) -> None:  # root may read any file
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SourceError, match=r"clip\.mp4 can't be read \(Permission denied\); check its permissions"):
        open_source(str(tmp_path / "clip.mp4"))


@pytest.mark.skipif(FFMPEG is None, reason="FFmpeg's command is not installed")
@pytest.mark.parametrize("flags", ["+faststart", "0"])
def test_a_film_without_pictures(tmp_path: Path, flags: str) -> None:
    file = tmp_path / "clip.mp4"
    sound = ["-f", "lavfi", "-i", "sine=duration=1", "-movflags", flags]
    subprocess.run([str(FFMPEG), "-v", "error", *sound, str(file)], check=True)
    with pytest.raises(SourceError, match=r"clip\.mp4 has sound, but no picture; name a video\."):
        open_source(str(file))
    with pytest.raises(DataError, match=r"clip\.mp4 has sound, but no picture; name a video, or put it on"):
        VideoFile(file)


@pytest.mark.parametrize(
    "content", [b"", b"x", b"no video at all" * 100, b"\0\0\0\x08moov", b"\0\0\0\x01moov" + b"\xff" * 8]
)
def test_what_is_not_known_is_not_named(content: bytes) -> None:
    assert why_no_video(io.BytesIO(content)) is None
