"""`-`: pictures on standard input, MJPEG or raw frames with their size (YUV4MPEG2); how they begin tells which.

What a pipe gives is live. A file there (`stpr-run --source - < film.y4m`) is a recording: every frame, with its time.
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
FASTEST: Final = 120.0  # frames a second of a camera that does not say its rate
TOO_FAST: Final = 2.0  # times as fast as the rate is no camera
COUNTED: Final = 32  # pictures whose pace is taken, behind as many that may have waited somewhere

log = logging.getLogger(__name__)


class Piped(NamedTuple):
    """What is on standard input."""

    pictures: Iterator[bytes]
    decode: Callable[[bytes], Image | None]
    fps: float | None  # as announced


def open_pipe(descriptor: int = 0) -> Source:
    """What is piped, or a recording where that is a file; raises SourceError where it holds no picture."""
    if not _is_file(descriptor):
        return PipedSource(NAME, lambda: connect_pipe(descriptor))
    piped = _read_pipe(descriptor)
    if (first := next(piped.pictures, None)) is None:
        raise SourceError(NO_PICTURE)
    fps = piped.fps or FOLDER_FPS
    return RecordedSource(NAME, at_rate(map(piped.decode, chain([first], piped.pictures)), fps), fps=fps)


def connect_pipe(descriptor: int = 0) -> Capture:
    """What is piped, live; raises SourceError where that is nothing, or holds no picture."""
    piped = _read_pipe(descriptor)
    pictures = _watched(piped.pictures, piped.fps or FASTEST)
    capture = PictureCapture(pictures, piped.decode, _nothing, stall_seconds=None)
    if not capture.begins():
        raise SourceError(NO_PICTURE)
    return capture


def _read_pipe(descriptor: int) -> Piped:
    if descriptor == 0 and sys.stdin is None:  # whatever has its number now is something else
        raise SourceError(f"--source - can't read standard input: it is closed; {PIPED}.")
    try:
        if os.isatty(descriptor):
            raise SourceError(
                f"--source - reads MJPEG or YUV4MPEG2 from standard input, and nothing is piped into it; {PIPED}."
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
    """The same; it is said where they come too fast for a camera."""
    begun = time.monotonic()
    for number, picture in enumerate(pictures):
        if number == COUNTED:
            begun = time.monotonic()
        elif number == 2 * COUNTED and (pace := COUNTED / max(1e-6, time.monotonic() - begun)) > TOO_FAST * fps:
            log.warning(
                "standard input gives %.0f pictures a second: a film that is not piped at its own pace is seen too"
                " fast, and most of it dropped; let FFmpeg read it with -re.",
                pace,
            )
        yield picture


def _again(begin: bytes, descriptor: int) -> Callable[[], bytes]:
    """Reads what was read already, then what follows."""
    left = [begin] if begin else []
    return lambda: left.pop() if left else os.read(descriptor, PIECE)


def _nothing() -> None:
    """Standard input is not ours to close."""
