"""Whether a window can be shown: with displays that are there, are gone, and never answer."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from stpr.runtime.sinks.window import why_no_window

HAS_WINDOWS = not re.search(r"GUI: +NONE", cv2.getBuildInformation())
windows = pytest.mark.skipif(not HAS_WINDOWS, reason="the OpenCV here has no windows")


@pytest.fixture(autouse=True)
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


def test_where_there_is_no_display_that_is_said_at_once() -> None:
    assert why_no_window() == "no display here"


@pytest.mark.skipif(HAS_WINDOWS, reason="the OpenCV here has windows")
def test_an_opencv_without_windows_is_said_with_what_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":77")
    reason = f'the OpenCV here ({cv2.__version__}) has no windows; `pip install "stpr[desktop]"` has'
    assert why_no_window() == reason


@windows
@pytest.mark.parametrize(
    ("name", "value"), [("DISPLAY", ":77"), ("DISPLAY", "nonsense"), ("WAYLAND_DISPLAY", "gone-0")]
)
def test_a_display_that_is_gone_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert why_no_window() == f"the display {value} can't be used"


@windows
def test_a_display_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stpr.runtime.sinks.window.TRY_SECONDS", 2.0)
    Path("/tmp/.X11-unix").mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind("/tmp/.X11-unix/X78")
        silent.listen()
        try:
            monkeypatch.setenv("DISPLAY", ":78")
            assert why_no_window() == "the display :78 does not answer within 2 s"
        finally:
            Path("/tmp/.X11-unix/X78").unlink()


SHOW = """
from stpr.runtime.settings import Settings
from stpr.runtime.sinks.window import open_window, why_no_window
from tests.runtime.sinks.results import make_result
assert why_no_window() is None, why_no_window()
window = open_window(Settings(source="0"))
for index in range(5):
    window.write(make_result(index))
window.close()
"""


@windows
@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="Xvfb is not installed")
def test_a_window_is_shown_where_a_display_is() -> None:
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "800x600x24"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as display:
        try:
            assert display.stdout is not None
            there = os.environ | {"DISPLAY": f":{display.stdout.readline().decode().strip()}"}
            done = subprocess.run([sys.executable, "-c", SHOW], env=there, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        finally:
            display.kill()
