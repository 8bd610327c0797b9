"""Show frames with the overlay in a window on this machine's display."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from typing import Final

import cv2

from stpr.runtime.contract.errors import StprError
from stpr.runtime.result import Result
from stpr.runtime.settings import Settings
from stpr.runtime.sinks.overlay import Overlay
from stpr.runtime.sinks.raw_file import write_whole
from stpr.runtime.sinks.sink import StopRun
from stpr.runtime.sinks.window_process import HEADER, QUIT, WINDOW

SHOW: Final = "import sys; from stpr.runtime.sinks.window_process import main; raise SystemExit(main(sys.argv[1]))"
CLOSE_SECONDS: Final = 0.5  # for the window to close
NO_WINDOWS: Final = 3  # exit code of TRY
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
    """Shows every frame, in a separate process; q, Esc or closing the window ends the run."""

    every_frame = True

    def __init__(self, name: str = WINDOW) -> None:
        # Ctrl-C in a terminal must only reach this process; the window's process ends with its standard input.
        self._process = subprocess.Popen(
            [sys.executable, "-c", SHOW, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        self._pictures = io.FileIO(self._process.stdin.fileno(), "wb", closefd=False)
        self._overlay = Overlay()

    def write(self, result: Result) -> None:
        """Show the frame. Raises StopRun if the user has closed the window, StprError if the display is gone."""
        picture = cv2.cvtColor(self._overlay.draw(result), cv2.COLOR_RGB2BGR)
        try:
            write_whole(self._pictures, HEADER.pack(*picture.shape[:2]) + picture.tobytes())
        except BrokenPipeError as error:
            if self._process.wait() == QUIT:
                raise StopRun from error
            raise StprError(f"its display {_display()} has gone; run again where there is one.") from error

    def close(self) -> None:
        """Close the window."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Windows:
    """One window per source, opened with its first frame."""

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
        """Close all windows."""
        for window in self._windows.values():
            window.close()


def open_window(settings: Settings) -> Window | Windows | None:
    """Open a window, or one per source, unless `--headless`."""
    if settings.headless:
        return None
    return Window() if len(settings.sources) == 1 else Windows()


def why_no_window() -> str | None:
    """Why no window can be shown here; None if one can.

    Tested in a separate process, since Qt and GTK end the process if the display of DISPLAY or WAYLAND_DISPLAY is gone.
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
