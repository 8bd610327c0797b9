"""Captures of live sources: cameras and the embedded motions; network streams are in `stream` and `mjpeg`.

A connect function opens the capture or raises SourceError. Captures convert OpenCV's BGR to RGB, which everything
after this package uses.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from stpr.runtime import motions
from stpr.runtime.contract.errors import SourceError
from stpr.runtime.contract.names import address_text
from stpr.runtime.contract.preprocess import Image

VIDEO_MAJOR = 81  # Linux's major device number of cameras
LAST_CAMERA = 1 << 20  # upper limit of Linux's device numbers
ELSEWHERE = "try --source FILE or --source synthetic:motions"

# nvarguscamerasrc is the only way to get processed pictures from a Jetson's CSI camera; one buffer, against delay.
CSI_PIPELINE = (
    "nvarguscamerasrc sensor-id={sensor} ! video/x-raw(memory:NVMM),width=1280,height=720,framerate=30/1 !"
    " nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR !"
    " appsink drop=true max-buffers=1 sync=false"
)


class Shot(NamedTuple):
    """A frame read by a capture."""

    image: Image  # (H, W, 3) uint8, RGB
    label: str | None = None  # the true class, if known
    seen_at: float | None = None  # monotonic seconds; None: now


class Capture(Protocol):
    """A device or stream that is read frame by frame until it is lost."""

    @property
    def dropped(self) -> int:
        """Number of frames skipped to stay near real time."""

    @property
    def skipped(self) -> int:
        """Number of frames that could not be decoded."""

    def read(self) -> Shot | None:
        """Wait for the next frame; None at the end, or if none came in time.

        Raises SourceError if the reason of the loss is known.
        """

    def close(self) -> None:
        """Release the device."""


class OpenCvCapture:
    """A camera that OpenCV has opened."""

    dropped = 0
    skipped = 0

    def __init__(self, device: cv2.VideoCapture) -> None:
        self._device = device

    def read(self) -> Shot | None:
        """The next frame in RGB, or None."""
        image = read_rgb(self._device)
        return None if image is None else Shot(image)

    def close(self) -> None:
        """Release the device."""
        self._device.release()


class MotionsCapture:
    """The embedded motions in real time, each frame with its true class."""

    dropped = 0
    skipped = 0

    def __init__(self, *, seed: int = 0, fps: float = motions.FPS) -> None:
        self._shots: Iterator[tuple[Image, str]] = motions.stream(seed, fps)
        self._period = 1 / fps
        self._due = time.monotonic()

    def read(self) -> Shot:
        """Wait for the next frame's time and return it."""
        shot = next(self._shots)
        self._due = max(self._due + self._period, time.monotonic() - self._period)
        time.sleep(max(0.0, self._due - time.monotonic()))
        return Shot(*shot)

    def close(self) -> None:
        """Nothing to release."""


def read_rgb(device: cv2.VideoCapture) -> Image | None:
    """The next frame `(H, W, 3)` in RGB, or None at the end."""
    return retrieve_rgb(device) if device.grab() else None


def retrieve_rgb(device: cv2.VideoCapture) -> Image | None:
    """Decode the grabbed frame, `(H, W, 3)` in RGB; None on failure."""
    read, image = device.retrieve()
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8) if read else None


def connect_camera(index: int) -> Capture:
    """Open a camera by number; raises SourceError if there is none."""
    device = cv2.VideoCapture(index) if index <= LAST_CAMERA else None
    if device is None or not device.isOpened():
        raise SourceError(
            f"no camera {index} here: {_why_no_camera(Path(f'/dev/video{index}'))}; {ELSEWHERE}.", code="gone"
        )
    return OpenCvCapture(device)


def connect_v4l2(path: str) -> Capture:
    """Open a camera by device file, such as /dev/video0 or a link in /dev/v4l/by-id."""
    file = Path(path).resolve()
    number = re.fullmatch(r"/dev/video(\d+)", str(file))
    # By number if possible, since only some builds of OpenCV open cameras by name.
    device = cv2.VideoCapture(int(number[1]) if number else address_text(str(file)), cv2.CAP_V4L2)
    if not device.isOpened():
        raise SourceError(f"no camera v4l2://{path} here: {_why_no_camera(Path(path))}; {ELSEWHERE}.", code="gone")
    return OpenCvCapture(device)


def connect_csi(sensor: str) -> Capture:
    """Open a Jetson's CSI camera; raises SourceError if OpenCV lacks GStreamer or the sensor does not answer."""
    if not sensor.isdecimal():
        raise SourceError(f"csi://{sensor} names no sensor; write csi://0 for the first.")
    if not re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()):
        raise SourceError(
            f"csi://{sensor} needs an OpenCV with GStreamer, but the one here ({cv2.__version__}) has none;"
            " remove the opencv-python wheels so that JetPack's own OpenCV is found (a virtual environment sees it only"
            " with --system-site-packages)."
        )
    device = cv2.VideoCapture(CSI_PIPELINE.format(sensor=sensor), cv2.CAP_GSTREAMER)
    if not device.isOpened():
        raise SourceError(f"no camera csi://{sensor} here: nvarguscamerasrc did not open it; {ELSEWHERE}.", code="gone")
    return OpenCvCapture(device)


def _why_no_camera(file: Path) -> str:
    if not file.exists():
        others = sorted(str(path) for path in Path("/dev").glob("video*"))
        return f"{file} does not exist" + (f", only {', '.join(others)}" if others else "")
    if not (stat.S_ISCHR(file.stat().st_mode) and os.major(file.stat().st_rdev) == VIDEO_MAJOR):
        return f"{file} is not a camera"
    try:
        os.close(os.open(file, os.O_RDWR | os.O_NONBLOCK))
    except PermissionError:
        return f"this user may not open {file}: `sudo usermod -aG video $USER`, and log in again"
    except OSError as error:
        reason = (error.strerror or "no reason given").lower()
        return f"{file} can't be opened ({reason}): plug it in again, or end the process that uses it"
    return (
        f"{file} gives no picture: another process uses it, or it has no format that OpenCV can read (see"
        f" `v4l2-ctl -d {file} --list-formats`; a Jetson's raw sensor is watched with csi://0)"
    )
