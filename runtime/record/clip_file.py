"""Write a clip to a video file frame by frame, so that memory does not grow with its length."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from stpr.runtime.contract.errors import StprError
from stpr.runtime.contract.preprocess import Image


class ClipFile:
    """An mp4 file at a constant rate, in a temporary folder that is deleted when the block ends."""

    def __init__(self, fps: float) -> None:
        """`fps` is the source's measured rate, so few frames are repeated or dropped to keep it."""
        self.fps = fps
        self._folder = tempfile.TemporaryDirectory(prefix="stpr-record-")
        self._path = Path(self._folder.name) / "clip.mp4"
        self._writer: cv2.VideoWriter | None = None
        self._size, self._written = (0, 0), 0

    def write(self, image: Image, at: float) -> None:
        """Write a frame `(H, W, 3)` RGB that was captured `at` seconds after the first one."""
        if self._writer is None:
            self._size = (image.shape[1], image.shape[0])
            self._writer = self._open()
        if (image.shape[1], image.shape[0]) != self._size:  # streams may change their frame size
            image = np.asarray(cv2.resize(image, self._size, interpolation=cv2.INTER_AREA), np.uint8)
        for _ in range(round(at * self.fps) + 1 - self._written):
            self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
            self._written += 1

    def finished(self) -> bytes:
        """Return the file's content. Raises StprError if it can't be decoded again completely."""
        assert self._writer is not None, "a clip has frames"
        self._writer.release()
        device = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        count = round(device.get(cv2.CAP_PROP_FRAME_COUNT))
        device.release()
        if count != self._written:
            raise StprError(
                f"the clip has {count} of its {self._written} frames: is {self._folder.name} full? Free space, or set"
                " TMPDIR to another folder."
            )
        return self._path.read_bytes()

    def _open(self) -> cv2.VideoWriter:
        # Every build of OpenCV can write MPEG-4 Part 2, but not H.264.
        writer = cv2.VideoWriter(str(self._path), cv2.VideoWriter.fourcc(*"mp4v"), self.fps, self._size)
        if not writer.isOpened():
            raise StprError(f"OpenCV can't write a video of {self._size[0]}x{self._size[1]} at {self.fps:g} fps here.")
        return writer

    def __enter__(self) -> ClipFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()
        self._folder.cleanup()
