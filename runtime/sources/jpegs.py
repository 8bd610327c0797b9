"""JPEG pictures one after the other (MJPEG).

What lies between two pictures is skipped, so it does not matter whether they come as parts of a multipart answer, with
or without their lengths, or just one behind the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import cv2
import numpy as np

from stpr.runtime.contract.preprocess import Image

BEGIN, END = b"\xff\xd8\xff", b"\xff\xd9"
SCAN: Final = 0xDA  # behind this marker's segment lies the picture itself, in which END is the end and nothing else
BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a segment
LONGEST: Final = 64 << 20  # bytes of a picture


def decoded(jpeg: bytes) -> Image | None:
    """The picture in RGB; None where it is damaged, cut short, or larger than OpenCV takes."""
    if not jpeg.endswith(END):
        return None
    try:
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def jpegs(read: Callable[[], bytes]) -> Iterator[bytes]:
    """Every JPEG in what `read` gives piece by piece, until it gives nothing.

    One that the next begins in is given as far as it came; one that the end cuts off is not.
    """
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
            # No picture's data holds what begins one.
            if searched and (cut := held.find(BEGIN, searched, end if end >= 0 else len(held))) >= 0:
                yield bytes(held[:cut])
                del held[:cut]
                begun = False
                continue
            if end < 0:
                searched = max(searched, len(held) - len(BEGIN) + 1) if searched else 0
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
