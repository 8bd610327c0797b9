"""A window on this machine's display, with what is said of each frame drawn in."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

import cv2

from stpr.runtime.result import Result
from stpr.runtime.settings import Settings
from stpr.runtime.sinks.overlay import Overlay
from stpr.runtime.sinks.sink import StopRun

WINDOW = "stpr"
QUIT_KEYS = frozenset({ord("q"), 27})
NO_WINDOWS: Final = 3  # the exit code of TRY
TRY: Final = f"""
import cv2
try:
    cv2.namedWindow("{WINDOW}")
    cv2.waitKey(1)
    cv2.destroyAllWindows()
except cv2.error:
    raise SystemExit({NO_WINDOWS})
"""
TRY_SECONDS: Final = 10.0


class Window:
    """Shows every frame; q, Esc or closing it ends the run."""

    every_frame = True

    def __init__(self, name: str = WINDOW) -> None:
        cv2.namedWindow(name, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        self._name = name
        self._overlay = Overlay()
        self._sized = False

    def write(self, result: Result) -> None:
        """Show the frame and look at the keyboard."""
        picture = self._overlay.draw(result)
        if not self._sized:
            cv2.resizeWindow(self._name, picture.shape[1], picture.shape[0])
            self._sized = True
        cv2.imshow(self._name, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        pressed = cv2.waitKey(1) & 0xFF
        if pressed in QUIT_KEYS or cv2.getWindowProperty(self._name, cv2.WND_PROP_VISIBLE) < 1:
            raise StopRun

    def close(self) -> None:
        """Close the window."""
        cv2.destroyWindow(self._name)


class Windows:
    """A window for each source, there from its first frame on."""

    every_frame = True

    def __init__(self) -> None:
        self._windows: dict[str, Window] = {}

    def write(self, result: Result) -> None:
        """Show the frame in its source's window."""
        name = result.frame.source.name
        if name not in self._windows:
            self._windows[name] = Window(f"{WINDOW}: {name}")
        self._windows[name].write(result)

    def close(self) -> None:
        """Close them all."""
        for window in self._windows.values():
            window.close()


def open_window(settings: Settings) -> Window | Windows | None:
    """A window, or one for each of several sources, unless `--headless`."""
    if settings.headless:
        return None
    return Window() if len(settings.sources) == 1 else Windows()


def why_no_window() -> str | None:
    """Why no window can be shown here; None if one can.

    Asked of a process of its own: where the display of DISPLAY or WAYLAND_DISPLAY is gone, Qt and GTK end whoever asks.
    """
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "no display here"
    try:
        tried = subprocess.run([sys.executable, "-c", TRY], capture_output=True, timeout=TRY_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"the display {_display()} does not answer within {TRY_SECONDS:g} s"
    if tried.returncode == NO_WINDOWS:
        return f'the OpenCV here ({cv2.__version__}) has no windows; `pip install "stpr[desktop]"` has'
    return f"the display {_display()} can't be used" if tried.returncode else None


def _display() -> str:
    return os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY") or "here"
