"""Videos whose pictures OpenCV can't convert: OpenCV 5 says that it did, and hands out what its memory held before.

Interlaced films (camcorders, television, analogue cameras) are such. The rest of a pass is right: counts and times.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

WHY: Final = (
    f"is interlaced, and the OpenCV here ({cv2.__version__}) can't convert that; convert it:"
    " ffmpeg -i OLD -vf yadif NEW.mp4"
)
LOOKED_AT: Final = 3  # pictures from the first on: where they differ they were converted
MARKS: Final = (0x5A, 0xA5, 0x3C, 0xC3)  # left in memory before the file is opened anew
MARKED_BYTES: Final = 2**27


def shows_memory(name: str) -> bool:
    """Whether the pictures of a video are none of its own. Where its first ones differ, that is told at once."""
    device = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
    pictures = [picture for _ in range(LOOKED_AT) if (picture := _read(device)) is not None]
    if not pictures or any(not np.array_equal(pictures[0], picture) for picture in pictures):
        device.release()
        return False
    opened, first = [device], pictures[0]  # open until the end: each has memory of its own
    pins = []
    for mark in MARKS:
        pins.append(_mark_memory(first.nbytes, mark))
        opened.append(cv2.VideoCapture(name, cv2.CAP_FFMPEG))
        again = _read(opened[-1])
        if again is None or not np.array_equal(first, again):
            return True
    return False


def _read(device: cv2.VideoCapture) -> np.ndarray | None:
    intact, picture = device.read()
    return picture if intact else None


def _mark_memory(size: int, mark: int) -> np.ndarray:
    """Free blocks of about that size that are full of `mark`: who takes memory next finds it there.

    The last one is returned, to be kept as long: behind it the others can't be given back to the system.
    """
    blocks = [np.full(size + 64 * number, mark, np.uint8) for number in range(min(32, max(2, MARKED_BYTES // size)))]
    return blocks[-1]
