"""Open files and URLs with OpenCV's FFmpeg, each with its own options of FFmpeg."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final

import cv2

FFMPEG_OPTIONS: Final = "OPENCV_FFMPEG_CAPTURE_OPTIONS"  # OpenCV's only way to pass options to FFmpeg, read on opening
NONE: Final[Mapping[str, str]] = MappingProxyType({})


class Environment:
    """The options in the environment, which is the whole process's, although several threads open streams.

    Streams with the same options are opened at the same time, since one may take seconds; those with others wait until
    none is being opened. A user's own options have priority, and are not changed.
    """

    def __init__(self) -> None:
        self._ours = {""}  # all options that were set here: others are the user's
        self._opening = 0
        self._queue = threading.Lock()  # in the order of asking, so that the same options over and over block nobody
        self._changed = threading.Condition()

    @contextmanager
    def with_options(self, words: str) -> Iterator[None]:
        """Within the block, OpenCV reads these options."""
        with self._queue, self._changed:
            now = os.environ.get(FFMPEG_OPTIONS, "")
            if now in self._ours and now != words:
                self._changed.wait_for(lambda: not self._opening)
                self._ours.add(words)
                os.environ[FFMPEG_OPTIONS] = words
            self._opening += 1
        try:
            yield
        finally:
            with self._changed:
                self._opening -= 1
                self._changed.notify_all()


_environment = Environment()


def open_with_ffmpeg(
    address: str, properties: Sequence[int] = (), options: Mapping[str, str] = NONE
) -> cv2.VideoCapture:
    """Open a file or URL with OpenCV's properties and FFmpeg's options; the user's own options have priority."""
    with _environment.with_options("|".join(f"{name};{value}" for name, value in options.items())):
        return cv2.VideoCapture(address, cv2.CAP_FFMPEG, [*properties])
