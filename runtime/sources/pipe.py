"""`-`: pictures on standard input, MJPEG or YUV4MPEG2, detected by the first bytes.

A pipe is a live source. A redirected file (`stpr-run --source - < film.y4m`) is a recording: all frames, with times.
"""

from __future__ import annotations

import logging
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final, NamedTuple

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.sources.capture import Capture
from stpr.runtime.sources.files import FOLDER_FPS, RecordedSource, at_rate
from stpr.runtime.sources.frame import Source
from stpr.runtime.sources.jpegs import decoded, jpegs
from stpr.runtime.sources.live import PipedSource
from stpr.runtime.sources.pictures import PictureCapture
from stpr.runtime.sources.y4m import MAGIC, RawFrames

NAME: Final = "standard input"
PIECE: Final = 1 << 16
PIPED: Final = "pipe it there, as in: ffmpeg -re -i FILM -f mjpeg -q:v 3 - | stpr-run --source -"
NO_PICTURE: Final = f"--source - found no picture, MJPEG or YUV4MPEG2, on standard input before its end; {PIPED}."
FASTEST: Final = 120.0  # maximum frames per second of a camera with unknown rate
TOO_FAST: Final = 2.0  # factor above the announced rate from which the input is not real-time
COUNTED: Final = 32  # pictures over which the rate is measured, after skipping as many that may have been buffered

log = logging.getLogger(__name__)


class Piped(NamedTuple):
    """The pictures on standard input."""

    pictures: Iterator[bytes]
    decode: Callable[[bytes], Image | None]
    fps: float | None  # as announced


def open_pipe(descriptor: int = 0) -> Source:
    """Open the pipe, or a recording if it is a file; raises SourceError without pictures."""
    if not _is_file(descriptor):
        return PipedSource(NAME, lambda: connect_pipe(descriptor))
    piped = _read_pipe(descriptor)
    if (first := next(piped.pictures, None)) is None:
        raise SourceError(NO_PICTURE)
    fps = piped.fps or FOLDER_FPS
    return RecordedSource(NAME, at_rate(map(piped.decode, chain([first], piped.pictures)), fps), fps=fps)


def connect_pipe(descriptor: int = 0) -> Capture:
    """Open a live pipe; raises SourceError without pictures."""
    piped = _read_pipe(descriptor)
    pictures = _watched(piped.pictures, piped.fps or FASTEST)
    capture = PictureCapture(pictures, piped.decode, _nothing, stall_seconds=None)
    if not capture.begins():
        raise SourceError(NO_PICTURE)
    return capture


def _read_pipe(descriptor: int) -> Piped:
    if descriptor == 0 and sys.stdin is None:  # descriptor 0 may be another file now
        raise SourceError(f"--source - can't read standard input: it is closed; {PIPED}.")
    try:
        if os.isatty(descriptor):
            raise SourceError(
                f"--source - reads MJPEG or YUV4MPEG2 from standard input, but nothing is piped into it; {PIPED}."
            )
        begin = b""
        while MAGIC.startswith(begin[: len(MAGIC)]) and len(begin) < len(MAGIC):
            if not (piece := os.read(descriptor, PIECE)):
                break
            begin += piece
    except OSError as error:
        raise SourceError(f"--source - can't read standard input ({error.strerror}); {PIPED}.") from error
    read = _again(begin, descriptor)
    if begin.startswith(MAGIC):
        frames = RawFrames(read)
        return Piped(iter(frames), frames.decoded, frames.fps)
    return Piped(jpegs(read), decoded, None)


def _is_file(descriptor: int) -> bool:
    return sys.stdin is not None and stat.S_ISREG(os.fstat(descriptor).st_mode)


def _watched(pictures: Iterator[bytes], fps: float) -> Iterator[bytes]:
    """Pass pictures on; logs a warning if they come too fast for a camera."""
    begun = time.monotonic()
    for number, picture in enumerate(pictures):
        if number == COUNTED:
            begun = time.monotonic()
        elif number == 2 * COUNTED and (pace := COUNTED / max(1e-6, time.monotonic() - begun)) > TOO_FAST * fps:
            log.warning(
                "standard input gives %.0f pictures per second: a file that is not piped in real time is seen too"
                " fast, and most of it is dropped; let FFmpeg read it with -re.",
                pace,
            )
        yield picture


def _again(begin: bytes, descriptor: int) -> Callable[[], bytes]:
    """A reader that first returns the bytes already read."""
    left = [begin] if begin else []
    return lambda: left.pop() if left else os.read(descriptor, PIECE)


def _nothing() -> None:
    """Don't close standard input."""
