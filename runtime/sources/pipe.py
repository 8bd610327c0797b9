"""`-`: pictures on standard input, MJPEG or raw frames with their size (YUV4MPEG2); how they begin tells which."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Final

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.sources.capture import Capture
from stpr.runtime.sources.jpegs import decoded, jpegs
from stpr.runtime.sources.pictures import PictureCapture
from stpr.runtime.sources.y4m import MAGIC, RawFrames

PIECE: Final = 1 << 16
PIPED: Final = "pipe it there, as in: ffmpeg -re -i FILM -f mjpeg -q:v 3 - | stpr-run --source -"


def connect_pipe(descriptor: int = 0) -> Capture:
    """What is piped; raises SourceError where that is nothing, or holds no picture."""
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
        capture = PictureCapture(iter(frames), frames.decoded, _nothing, stall_seconds=None)
    else:
        capture = PictureCapture(jpegs(read), decoded, _nothing, stall_seconds=None)
    if not capture.begins():
        raise SourceError(
            f"--source - found no picture, MJPEG or YUV4MPEG2, on standard input before its end; {PIPED}."
        )
    return capture


def _again(begin: bytes, descriptor: int) -> Callable[[], bytes]:
    """Reads what was read already, then what follows."""
    left = [begin] if begin else []
    return lambda: left.pop() if left else os.read(descriptor, PIECE)


def _nothing() -> None:
    """Standard input is not ours to close."""
