"""One video at a constant rate that can be read whatever ends the program: a kill costs its last seconds alone.

An ordinary mp4 is nothing without the index at its end. A fragmented one has an index every five seconds. FFmpeg writes
that kind where the name ends in .ismv; it is an mp4 all the same, so it has its right name from the first frame on.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from stpr.runtime.contract.errors import StprError
from stpr.runtime.contract.names import openable, shown
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.sinks.sink import MissedError
from stpr.runtime.sources.frame import Frame

STEADY: Final = 0.9  # a frame that stands for less than this share of the mean belongs to a rate that varies
ALMOST: Final = 0.999  # readers work the number of frames out of times, which are rounded
GROWS_WITHIN: Final = 15.0  # seconds of video: an index every five is on the disk by then
LIVE_FPS: Final = 30.0  # a camera is recorded at this rate, frames repeated or left out so that a second stays a second


class VideoFile:
    """Pictures with their times become a file; it is there, and can be read, while it is written."""

    def __init__(self, path: Path, picture: Image, captured_at: float, fps: float) -> None:
        """`path` is there and empty, made by the caller, so that it is nobody else's; `picture` is the first to come.

        Raises StprError where no video can be written.
        """
        self._path = path
        self._fps, self._size = fps, (picture.shape[1], picture.shape[0])
        self._start, self._written = captured_at, 0
        self._looked_at, self._bytes = 0, 0  # the frames written at the last look at the file, and its size then
        part = path.with_name(f".{secrets.token_hex(4)}.ismv")
        try:
            part.touch(exist_ok=False)
            # MPEG-4 Part 2 is in every build of OpenCV that has FFmpeg; H.264 is not.
            code = cv2.VideoWriter.fourcc(*"mp4v")
            with openable(part) as name:
                self._writer = cv2.VideoWriter(name, cv2.CAP_FFMPEG, code, self._fps, self._size)
            if not self._writer.isOpened():
                raise StprError(
                    f"can't record to {shown(path)}: the OpenCV here ({cv2.__version__}) writes no fragmented mp4;"
                    " use one with FFmpeg."
                )
            part.replace(path)
        except OSError as error:
            raise StprError(f"can't record to {shown(path)} ({error.strerror}); choose another place.") from error
        finally:
            if part.exists():  # it has not become a video
                part.unlink()
                path.unlink(missing_ok=True)

    @property
    def seconds(self) -> float:
        """How long it is so far."""
        return self._written / self._fps

    def write(self, picture: Image, captured_at: float) -> None:
        """Write a picture as often as its time asks for; a stream that was away for over a second leaves no hole.

        Raises MissedError where the file no longer grows: the library says nothing of a disk that takes no more.
        """
        due = round((captured_at - self._start) * self._fps) + 1 - self._written
        if not 0 <= due <= max(1.0, self._fps):
            self._start, due = captured_at - self._written / self._fps, 1
        if (picture.shape[1], picture.shape[0]) != self._size:  # a camera may come back with another size
            picture = np.asarray(cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA), np.uint8)
        image = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        for _ in range(due):
            self._writer.write(image)
        self._written += due
        if self._written - self._looked_at >= GROWS_WITHIN * self._fps:
            if not self._path.exists():
                raise MissedError(f"{shown(self._path)} was removed while it was recorded.")
            before, self._looked_at, self._bytes = self._bytes, self._written, _size(self._path)
            if self._bytes <= before:
                raise MissedError(
                    f"{shown(self._path)} no longer grows at {self._bytes / 1e6:.1f} MB; make room there, and look at"
                    " what that disk allows one file and one user (4 GB on FAT)."
                )

    def close(self) -> None:
        """Write the rest, to the disk. Raises MissedError where what is there is not what was written."""
        self._writer.release()  # says nothing of a disk that was full
        try:
            descriptor = os.open(self._path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise MissedError(f"{shown(self._path)} is not on the disk ({error.strerror}); check the disk.") from error
        if (found := _frames(self._path)) < ALMOST * self._written - 1:
            raise MissedError(
                f"{shown(self._path)} holds {found} of the {self._written} frames that were recorded; make room there."
            )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # removed
        return 0


def _frames(path: Path) -> int:
    """How many frames a reader finds announced."""
    with openable(path) as name:
        video = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
        found = round(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.grab() else 0
        video.release()
    return found


def rate_of(first: Frame) -> float:
    """The rate of a video that begins with this frame: that of its source.

    Where that varies it is announced as its mean, and frames may come as fast as the first two.
    """
    announced = first.source.fps or LIVE_FPS
    return round(1 / first.stands) if 0 < first.stands * announced < STEADY else announced
