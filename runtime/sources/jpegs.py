"""JPEG pictures one after the other (MJPEG): the newest is decoded, the others are passed over as bytes.

What lies between two pictures is skipped, so it does not matter whether they come as parts of a multipart answer, with
or without their lengths, or just one behind the other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException
from typing import Final, NamedTuple

import cv2
import numpy as np

from stpr.runtime.contract.preprocess import Image
from stpr.runtime.sources.capture import Shot
from stpr.runtime.sources.mailbox import Mailbox

BEGIN, END = b"\xff\xd8\xff", b"\xff\xd9"
SCAN: Final = 0xDA  # behind this marker's segment lies the picture itself, in which END is the end and nothing else
BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a segment
LONGEST: Final = 64 << 20  # bytes of a picture


class Arrived(NamedTuple):
    """A picture as it came, and when (monotonic)."""

    jpeg: bytes
    at: float


class JpegCapture:
    """MJPEG from a connection or a pipe, read as it comes: nothing grows old in a socket."""

    def __init__(self, read: Callable[[], bytes], done: Callable[[], None], *, stall_seconds: float | None) -> None:
        """`read` waits for some bytes and gives none at the end; `done` is called where nothing more is read.

        Where no picture comes for `stall_seconds` the capture is lost; None: never.
        """
        self.skipped = 0
        self._stall_seconds = stall_seconds
        self._mailbox: Mailbox[Arrived] = Mailbox()
        self._thread = threading.Thread(target=self._receive, args=(read, done), name="jpegs", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Pictures that nobody had time to decode."""
        return self._mailbox.dropped

    def begins(self) -> bool:
        """Wait for the first picture; tells whether there is one."""
        return self._mailbox.arrives_within(self._stall_seconds)

    def read(self) -> Shot | None:
        """The next picture in RGB, or None."""
        while (arrived := self._mailbox.take(self._stall_seconds)) is not None:
            if (image := _decoded(arrived.jpeg)) is not None:
                return Shot(image, None, arrived.at)
            self.skipped += 1
        return None

    def close(self) -> None:
        """Let the thread give the connection back, when its read returns: a connection that is read can't be closed."""
        self._mailbox.close()

    def _receive(self, read: Callable[[], bytes], done: Callable[[], None]) -> None:
        with self._mailbox:
            try:
                for jpeg in jpegs(read):
                    self._mailbox.put(Arrived(jpeg, time.monotonic()), len(jpeg))
                    if self._mailbox.closed_within(0):
                        return
            except (OSError, HTTPException):
                return  # the connection broke
            finally:
                done()


def _decoded(jpeg: bytes) -> Image | None:
    """The picture in RGB; None where it is damaged, or larger than OpenCV takes."""
    try:
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def jpegs(read: Callable[[], bytes]) -> Iterator[bytes]:
    """Every JPEG in what `read` gives piece by piece, until it gives nothing; a part of one is none."""
    held, begun = bytearray(), False
    searched = 0  # no end before this
    while piece := read():
        held += piece
        while True:
            if not begun:
                start = held.find(BEGIN)
                del held[: start if start >= 0 else max(0, len(held) - len(BEGIN) + 1)]
                begun, searched = start >= 0, 0
            if not begun:
                break
            searched = searched or _picture_begins(held)
            end = held.find(END, searched) if searched else -1
            if end < 0:
                searched = max(searched, len(held) - 1) if searched else 0
                begun = len(held) <= LONGEST
                if not begun:
                    held.clear()
                break
            yield bytes(held[: end + len(END)])
            del held[: end + len(END)]
            begun = False


def _picture_begins(held: bytearray) -> int:
    """Where the picture itself begins, behind the segments (which may hold a small JPEG); 0 where that is to come."""
    at = 2
    while at + 4 <= len(held):
        marker = held[at + 1]
        if held[at] != 0xFF or marker == 0xFF or marker in BARE:
            at += 1 if held[at] != 0xFF or marker == 0xFF else 2
            continue
        at += 2 + int.from_bytes(held[at + 2 : at + 4], "big")
        if marker == SCAN:
            return at
    return 0
