"""Whether a window can be shown: with displays that are there, are gone, and never answer."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from stpr.runtime.contract.errors import StprError
from stpr.runtime.sinks.sink import StopRun
from stpr.runtime.sinks.window import Window, why_no_window
from stpr.runtime.sinks.window_process import QUIT
from tests.runtime.sinks.results import make_result

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


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A display of our own, which DISPLAY names."""
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed")
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "800x600x24"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        monkeypatch.setenv("DISPLAY", f":{server.stdout.readline().decode().strip()}")
        yield server
        server.kill()


def write_until_it_raises(window: Window) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        window.write(make_result(0))
        time.sleep(0.01)


@windows
def test_a_window_takes_pictures_and_closes(display: subprocess.Popen[bytes]) -> None:
    assert display.poll() is None
    assert why_no_window() is None
    window = Window()
    for index in range(50):
        window.write(make_result(index))
    window.close()
    assert window._process.returncode == 0


@windows
def test_a_display_that_dies_ends_the_window_alone(display: subprocess.Popen[bytes]) -> None:
    window = Window()
    for index in range(50):
        window.write(make_result(index))
    display.kill()
    with pytest.raises(StprError, match=r"^its display :\d+ has gone; run again where there is one\.$"):
        write_until_it_raises(window)
    window.close()


def test_a_window_that_can_not_be_opened_after_all_ends_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":77")
    window = Window()
    with pytest.raises(StprError, match="its display :77 has gone"):
        write_until_it_raises(window)
    window.close()


def test_who_has_seen_enough_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stpr.runtime.sinks.window.SHOW", f"raise SystemExit({QUIT})")
    window = Window()
    with pytest.raises(StopRun):
        write_until_it_raises(window)
    window.close()
