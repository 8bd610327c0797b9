"""Results as pictures: drawn once, then shown in a window, recorded to a video, or both."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from stpr.runtime.contract.errors import StprError
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.recognizer import Result
from stpr.runtime.sinks.overlay import draw

LIVE_FPS = 30.0  # a camera is recorded at this rate, frames repeated or left out so that a second stays a second
WINDOW = "stpr"
QUIT_KEYS = frozenset({ord("q"), 27})


class Output(Protocol):
    """Takes pictures (RGB, with what was seen drawn in)."""

    def show(self, picture: Image, captured_at: float) -> None:
        """Take one picture."""

    def close(self) -> None:
        """Finish what was begun."""


class Pictures:
    """The sink that draws for its outputs."""

    def __init__(self, outputs: Sequence[Output]) -> None:
        self._outputs = outputs

    def write(self, result: Result) -> None:
        """Draw every frame: between two predictions the newest stays."""
        picture = draw(result.frame.image, result.latest, truth=result.frame.label, fps=result.fps)
        for output in self._outputs:
            output.show(picture, result.frame.captured_at)

    def close(self) -> None:
        """Close the outputs."""
        for output in self._outputs:
            output.close()


class Recording:
    """A video file at a constant rate."""

    def __init__(self, path: Path, *, fps: float | None) -> None:
        """`fps` is the source's announced rate. The file begins with the first picture, whose size it takes."""
        if not path.parent.is_dir():
            raise StprError(f"can't record to {path}: there is no folder {path.parent}; make it first.")
        self._path = path
        self._fps = fps or LIVE_FPS
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._start = 0.0
        self._written = 0

    def show(self, picture: Image, captured_at: float) -> None:
        """Write the picture as often as its time asks for; a stream that was away for over a second leaves no hole."""
        if self._writer is None:
            self._writer = self._open(picture)
            self._start = captured_at
        due = round((captured_at - self._start) * self._fps) + 1 - self._written
        if not 0 <= due <= max(1.0, self._fps):
            self._start, due = captured_at - self._written / self._fps, 1
        if (picture.shape[1], picture.shape[0]) != self._size:  # a camera may come back with another size
            picture = np.asarray(cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA), np.uint8)
        image = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        for _ in range(due):
            self._writer.write(image)
        self._written += due

    def close(self) -> None:
        """Write the index, without which an mp4 can't be opened."""
        if self._writer is not None:
            self._writer.release()

    def _open(self, picture: Image) -> cv2.VideoWriter:
        self._size = (picture.shape[1], picture.shape[0])
        # MPEG-4 Part 2 is in every build of OpenCV; H.264 is not.
        writer = cv2.VideoWriter(str(self._path), cv2.VideoWriter.fourcc(*"mp4v"), self._fps, self._size)
        if not writer.isOpened():
            raise StprError(f"can't record to {self._path}: OpenCV can't write such a file there; name a .mp4 file.")
        return writer


class Window:
    """A window on this machine's display."""

    def __init__(self, on_quit: Callable[[], None]) -> None:
        """`on_quit` is called when q or Esc is pressed or the window is closed."""
        self._on_quit = on_quit
        cv2.namedWindow(WINDOW, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        self._sized = False

    def show(self, picture: Image, captured_at: float) -> None:  # noqa: ARG002  (an output's signature)
        """Show the picture and look at the keyboard."""
        if not self._sized:
            cv2.resizeWindow(WINDOW, picture.shape[1], picture.shape[0])
            self._sized = True
        cv2.imshow(WINDOW, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        pressed = cv2.waitKey(1) & 0xFF
        if pressed in QUIT_KEYS or cv2.getWindowProperty(WINDOW, cv2.WND_PROP_VISIBLE) < 1:
            self._on_quit()

    def close(self) -> None:
        """Close the window."""
        cv2.destroyWindow(WINDOW)


def why_no_window() -> str | None:
    """Why no window can be shown here; None if one can."""
    # Asked first: with Qt, opening a window without a display ends the process.
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "no display here"
    try:
        cv2.namedWindow(WINDOW, cv2.WINDOW_NORMAL)
        cv2.destroyWindow(WINDOW)
    except cv2.error:
        return f'the OpenCV here ({cv2.__version__}) has no windows; `pip install "stpr[desktop]"` has'
    return None
