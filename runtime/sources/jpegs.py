"""Split a byte stream into JPEG pictures (MJPEG).

Bytes between two pictures are skipped, so multipart responses, with or without lengths, and plain concatenation all
work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import cv2
import numpy as np

from stpr.runtime.contract.preprocess import Image

BEGIN, END = b"\xff\xd8\xff", b"\xff\xd9"
SCAN: Final = 0xDA  # after this marker's segment comes the picture data, in which END only occurs at the end
BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a segment
LONGEST: Final = 64 << 20  # bytes of a picture


def decoded(jpeg: bytes) -> Image | None:
    """Decode a picture to RGB; None if it is damaged, truncated, or too large for OpenCV."""
    if not jpeg.endswith(END):
        return None
    try:
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def jpegs(read: Callable[[], bytes]) -> Iterator[bytes]:
    """Yield each JPEG in the chunks that `read` returns, until it returns b"".

    A picture that is interrupted by the next one, or by the end, is yielded incomplete.
    """
    held, begun = bytearray(), False
    searched = 0  # no end marker before this position
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
            # Picture data never contains the start marker.
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
    yield from [bytes(held)] if begun else []


def _picture_begins(held: bytearray) -> int:
    """The start of the picture data, after the segments (which may contain a thumbnail JPEG); 0 if not received yet."""
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
