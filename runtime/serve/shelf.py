"""List and play the clips of `--clips DIR` on the page.

Browsers can't play the video format that every OpenCV can write, so a clip is played as a sequence of pictures; the
file can be downloaded too. Only videos that stpr wrote into this folder are ever served.
"""

from __future__ import annotations

import re
import stat
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Final, TypeAlias

import cv2
import msgspec
import numpy as np

from stpr.runtime.contract.names import openable
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.sinks.clips import CAMERA_LETTERS
from stpr.runtime.sinks.store import OURS, plain

MOST: Final = 60  # newest clips that are listed
HEAD: Final = 64  # bytes of a video without pictures, just begun or left by a killed run
LOOK_SECONDS: Final = 1.0  # between two scans of the folder
QUIET_SECONDS: Final = 7.0  # without growth, after which a clip is complete; one being written grows every five
FASTEST: Final = 15.0  # pictures per second; frames are skipped above
# A clip's file is created when its event is reported; tolerance in seconds, as names have whole seconds.
EARLIEST, LATEST = -2.0, 6.0

Coder: TypeAlias = Callable[[Image], bytes]


class Clip(msgspec.Struct, frozen=True):
    """A clip in the folder."""

    name: str  # of its file
    title: str  # the action, or the whole name if it is not of this bundle
    camera: str | None
    at: float  # when its event was reported, in seconds since 1970
    bytes: int
    whole: bool  # it is no longer being written


class Shelf:
    """The clips of one folder; without a folder there are none."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._looked_at, self._found = float("-inf"), list[tuple[Path, float, int]]()

    @property
    def is_there(self) -> bool:
        """Whether this run makes clips."""
        return self._folder is not None

    def clips(self, labels: Sequence[str]) -> list[Clip]:
        """The clips, newest first; `labels` are the action names to look for in file names."""
        self._look()
        now = time.time()
        return [
            Clip(path.name, title, camera, _time_of(path.name), size, whole=now - changed > QUIET_SECONDS)
            for path, changed, size in self._found
            for title, camera in [_about(path.name, labels)]
        ]

    def clip_of(self, label: str, camera: str, said_at: float) -> str | None:
        """The name of the clip of an event reported at that time; None if there is none (yet)."""
        self._look()
        shelved = (label, plain(camera)[:CAMERA_LETTERS])
        for path, _, _ in reversed(self._found):
            late = _time_of(path.name) - said_at
            if EARLIEST <= late <= LATEST and _about(path.name, [label]) == shelved:
                return path.name
        return None

    def find(self, name: str) -> Path | None:
        """The path of a clip by name, if it is one of ours and directly in the folder."""
        if self._folder is None or "/" in name or "\0" in name or not OURS.fullmatch(name):
            return None
        path = self._folder / name
        with suppress(OSError):
            if stat.S_ISREG(path.lstat().st_mode):  # not a link
                return path
        return None

    def is_whole(self, path: Path) -> bool:
        """Whether a clip returned by `find` is no longer being written."""
        try:
            return time.time() - path.lstat().st_mtime > QUIET_SECONDS
        except OSError:  # removed meanwhile
            return False

    def _look(self) -> None:
        if self._folder is None or time.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at, found = time.monotonic(), []
        with suppress(OSError):  # the folder is missing
            for path in self._folder.iterdir():
                with suppress(OSError):  # removed meanwhile
                    about = path.lstat()
                    if OURS.fullmatch(path.name) and stat.S_ISREG(about.st_mode) and about.st_size > HEAD:
                        found.append((path, about.st_mtime, about.st_size))
        self._found = sorted(found, key=lambda one: one[0].name, reverse=True)[:MOST]


class Film:
    """The pictures of one clip, at a limited rate."""

    def __init__(self, path: Path) -> None:
        with openable(path) as name:
            self._video = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
        fps = self._video.get(cv2.CAP_PROP_FPS) or FASTEST
        self._step = max(1, round(fps / FASTEST))
        self.fps = fps / self._step
        self.count = int(self._video.get(cv2.CAP_PROP_FRAME_COUNT)) // self._step

    def coded(self, code: Coder) -> Iterator[bytes]:
        """Yield each picture encoded by `code`, preceded by its length (four bytes, big-endian)."""
        try:
            while True:
                there, picture = self._video.read()
                if not there:
                    return
                coded = code(np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8))
                yield struct.pack(">I", len(coded)) + coded
                for _ in range(self._step - 1):
                    self._video.grab()
        finally:
            self._video.release()


def _about(name: str, labels: Sequence[str]) -> tuple[str, str | None]:
    """Parse action and camera from a clip's name."""
    rest = re.sub(r"^\d{8}T\d{6}Z(-\d+)?_|\.mp4$", "", name)
    for label in sorted(labels, key=len, reverse=True):
        if found := re.fullmatch(rf"(.*)-{re.escape(plain(label))}-\d+", rest):
            return label, found[1]
    return rest, None


def _time_of(name: str) -> float:
    return datetime.strptime(name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc).timestamp()
