"""`--record`: what is seen, with what is said of it drawn in, as a video file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from stpr.runtime.contract.errors import StprError
from stpr.runtime.contract.names import openable
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.result import Result
from stpr.runtime.settings import Settings
from stpr.runtime.sinks.overlay import Overlay
from stpr.runtime.sources.frame import Frame

STEADY = 0.9  # a frame that stands for less than this share of the mean belongs to a rate that varies
LIVE_FPS = 30.0  # a camera is recorded at this rate, frames repeated or left out so that a second stays a second


class Recording:
    """A video file at a constant rate."""

    every_frame = True

    def __init__(self, path: Path) -> None:
        """The file begins with the first result; its size and its source's announced rate are the file's.

        Raises StprError where there is a file already, or none can be made.
        """
        if not path.parent.is_dir():
            raise StprError(f"can't record to {path}: there is no folder {path.parent}; make it first.")
        try:
            path.touch(exist_ok=False)  # ours from here on, so that no other run records into it
        except FileExistsError as error:
            raise StprError(
                f"{path} is there already, and recording would overwrite it; name another file, or remove that one."
            ) from error
        except OSError as error:
            raise StprError(f"can't record to {path} ({error.strerror}); choose another file.") from error
        self._path = path
        self._overlay = Overlay()
        self._writer: cv2.VideoWriter | None = None
        self._fps, self._size = LIVE_FPS, (0, 0)
        self._start = 0.0
        self._written = 0

    def write(self, result: Result) -> None:
        """Write the picture as often as its time asks for; a stream that was away for over a second leaves no hole."""
        captured_at = result.frame.captured_at
        picture = self._overlay.draw(result)
        if self._writer is None:
            self._fps = _rate(result.frame)
            self._writer = self._open(picture)
            self._start = captured_at
        due = round((captured_at - self._start) * self._fps) + 1 - self._written
        if not 0 <= due <= max(1.0, self._fps):
            self._start, due = captured_at - self._written / self._fps, 1
        if (picture.shape[1], picture.shape[0]) != self._size:  # a camera may come back with another size
            picture = np.asarray(cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA), np.uint8)
        image = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        for _ in range(due):
            self._writer.write(image)
        self._written += due

    def close(self) -> None:
        """Write the index, without which an mp4 can't be opened; where nothing was seen there is no file."""
        if self._writer is not None:
            self._writer.release()
        else:
            self._path.unlink(missing_ok=True)

    def _open(self, picture: Image) -> cv2.VideoWriter:
        self._size = (picture.shape[1], picture.shape[0])
        # MPEG-4 Part 2 is in every build of OpenCV; H.264 is not.
        with openable(self._path) as name:
            writer = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*"mp4v"), self._fps, self._size)
        if not writer.isOpened():
            raise StprError(f"can't record to {self._path}: OpenCV can't write such a file there; name a .mp4 file.")
        return writer


def _rate(first: Frame) -> float:
    """As announced; where the rate varies, that is its mean, and frames may come as fast as the first two."""
    announced = first.source.fps or LIVE_FPS
    return round(1 / first.stands) if 0 < first.stands * announced < STEADY else announced


def open_recording(settings: Settings) -> Recording | None:
    """What `--record` asks for."""
    return None if settings.record is None else Recording(settings.record)
