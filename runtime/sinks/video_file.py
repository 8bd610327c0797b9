"""Write a video at a constant rate that stays readable if the program is killed, except for its last seconds.

An ordinary mp4 is unreadable without the index at its end; a fragmented one has an index every five seconds. FFmpeg
writes fragmented mp4 for names ending in .ismv; the file is renamed to .mp4 from the first frame on.
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

STEADY: Final = 0.9  # a frame with less than this share of the mean duration indicates a varying rate
ALMOST: Final = 0.999  # tolerance for readers that compute the number of frames from rounded times
GROWS_WITHIN: Final = 15.0  # seconds of video: an index every five is on the disk by then
LIVE_FPS: Final = 30.0  # rate of camera recordings; frames are repeated or dropped to keep real time


class VideoFile:
    """Writes pictures with capture times to a file that can be read while it is written."""

    def __init__(self, path: Path, picture: Image, captured_at: float, fps: float) -> None:
        """`path` is an empty file that the caller has created; `picture` is the first one to be written.

        Raises StprError if no video can be written.
        """
        self._path = path
        self._fps, self._size = fps, (picture.shape[1], picture.shape[0])
        self._start, self._written = captured_at, 0
        self._looked_at, self._bytes = 0, 0  # frames written, and file size, at the last check
        part = path.with_name(f".{secrets.token_hex(4)}.ismv")
        try:
            part.touch(exist_ok=False)
            # Every build of OpenCV with FFmpeg can write MPEG-4 Part 2, but not H.264.
            code = cv2.VideoWriter.fourcc(*"mp4v")
            with openable(part) as name:
                self._writer = cv2.VideoWriter(name, cv2.CAP_FFMPEG, code, self._fps, self._size)
            if not self._writer.isOpened():
                raise StprError(
                    f"can't record to {shown(path)}: the OpenCV here ({cv2.__version__}) can't write fragmented mp4;"
                    " use one with FFmpeg."
                )
            part.replace(path)
        except OSError as error:
            raise StprError(f"can't record to {shown(path)} ({error.strerror}); choose another place.") from error
        finally:
            if part.exists():  # no video was created
                part.unlink()
                path.unlink(missing_ok=True)

    @property
    def seconds(self) -> float:
        """Its length so far."""
        return self._written / self._fps

    def write(self, picture: Image, captured_at: float) -> None:
        """Write a picture, repeated or skipped according to its time; gaps of over a second are closed.

        Raises MissedError if the file no longer grows, since the library does not report a full disk.
        """
        due = round((captured_at - self._start) * self._fps) + 1 - self._written
        if not 0 <= due <= max(1.0, self._fps):
            self._start, due = captured_at - self._written / self._fps, 1
        if (picture.shape[1], picture.shape[0]) != self._size:  # a camera may reconnect with another size
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
                    f"{shown(self._path)} no longer grows at {self._bytes / 1e6:.1f} MB; free space, and check"
                    " the disk's limits per file and user (4 GB on FAT)."
                )

    def close(self) -> None:
        """Finish the file and flush it. Raises MissedError if frames are missing in it."""
        self._writer.release()  # does not report a full disk
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
                f"{shown(self._path)} holds {found} of the {self._written} frames that were recorded; free space."
            )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # deleted
        return 0


def _frames(path: Path) -> int:
    """The number of frames in the file's header."""
    with openable(path) as name:
        video = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
        found = round(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.grab() else 0
        video.release()
    return found


def rate_of(first: Frame) -> float:
    """The rate of a video that begins with this frame: that of its source.

    If it varies, the source announces the mean, and frames may come as fast as the first two.
    """
    announced = first.source.fps or LIVE_FPS
    return round(1 / first.stands) if 0 < first.stands * announced < STEADY else announced
