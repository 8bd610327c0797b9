"""The window's process: pictures come on standard input, and nothing but the display can end it too early.

Qt and GTK end the process whose display goes away, and want its main thread: here neither is recognition's.
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
HEADER: Final = struct.Struct("<II")  # height and width of the picture that follows: BGR, a byte each
QUIT: Final = 4  # the exit code that says: the user has seen enough
QUIT_KEYS: Final = frozenset({ord("q"), 27})
LOOK_SECONDS: Final = 0.05  # between two looks at the keyboard, where no picture comes


def main(name: str) -> int:
    """Show what comes in a window of that name until it ends, or until q, Esc or the window is closed."""
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
    """The next picture; None where the run has ended."""
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
