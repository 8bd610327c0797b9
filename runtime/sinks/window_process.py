"""The process of a window, which receives pictures on standard input.

Qt and GTK end the process if its display goes away, and need the main thread, so recognition runs in another process.
"""

from __future__ import annotations

import io
import select
import struct
from typing import Final

import cv2
import numpy as np

from stpr.runtime.contract.preprocess import Image

WINDOW: Final = "stpr"
HEADER: Final = struct.Struct("<II")  # height and width of the following picture: BGR, uint8
QUIT: Final = 4  # exit code if the user has closed the window
QUIT_KEYS: Final = frozenset({ord("q"), 27})
LOOK_SECONDS: Final = 0.05  # polling interval of the keyboard, without pictures


def main(name: str) -> int:
    """Show pictures in a window until the input ends, or q, Esc or closing the window."""
    pictures, sized = io.FileIO(0, "rb", closefd=False), False
    cv2.namedWindow(name, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
    while True:
        if select.select([pictures], [], [], LOOK_SECONDS)[0]:
            picture = _read(pictures)
            if picture is None:
                return 0
            if not sized:
                cv2.resizeWindow(name, picture.shape[1], picture.shape[0])
                sized = True
            cv2.imshow(name, picture)
        pressed = cv2.waitKey(1) & 0xFF
        if pressed in QUIT_KEYS or (sized and cv2.getWindowProperty(name, cv2.WND_PROP_VISIBLE) < 1):
            return QUIT


def _read(pictures: io.FileIO) -> Image | None:
    """Read the next picture; None if the run has ended."""
    header = _read_whole(pictures, HEADER.size)
    if header is None:
        return None
    height, width = HEADER.unpack(header)
    content = _read_whole(pictures, 3 * height * width)
    return None if content is None else np.frombuffer(content, np.uint8).reshape(height, width, 3)


def _read_whole(pictures: io.FileIO, size: int) -> bytearray | None:
    content = bytearray(size)
    left = memoryview(content)
    while left:
        if not (count := pictures.readinto(left)):
            return None
        left = left[count:]
    return content
