"""`--clips`: record a short video of each event, from some seconds before its report until a second after its end.

    picture ─▶ overlay, JPEG ─▶ buffer of five seconds ─▶ written when it leaves the buffer, if in a clip

Pictures leave the buffer as fast as they arrive, so a clip that begins in the past causes no burst of work.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np

from stpr.runtime.contract.errors import StprError
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.events import Start
from stpr.runtime.result import Result
from stpr.runtime.settings import Settings
from stpr.runtime.sinks.overlay import Overlay
from stpr.runtime.sinks.store import Store, plain
from stpr.runtime.sinks.video_file import VideoFile, rate_of

BEFORE: Final = 5.0  # seconds of a clip before the report of its event: the action, and what preceded it
AFTER: Final = 1.0  # seconds of a clip after the report of its event's end
LONGEST: Final = 60.0  # longest part of an event in its clip, in seconds
MOST_BYTES: Final = 48_000_000  # size of the buffer; with large pictures at a high rate it holds fewer seconds
CAMERA_LETTERS: Final = 30  # of its name in a clip's name, so that a long URL leaves room for the action
CLOSE_SECONDS: Final = 0.5  # for the buffer at the end of a run


@dataclass(frozen=True, slots=True)
class _Past:
    captured_at: float
    picture: bytes  # JPEG
    fps: float


@dataclass(slots=True)
class _Clip:
    name: str
    begin: float  # capture times of its frames
    end: float
    video: VideoFile | None = None


@dataclass(slots=True)
class _Camera:
    overlay: Overlay = field(default_factory=Overlay)
    past: deque[_Past] = field(default_factory=deque)
    size: int = 0  # bytes of `past`
    clips: list[_Clip] = field(default_factory=list)  # open or future; clips of close events share pictures


class Clips:
    """Buffers the last seconds of every source, and writes those around events."""

    every_frame = True

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cameras: dict[str, _Camera] = {}

    def write(self, result: Result) -> None:
        """Add a frame. Raises MissedError if the disk is full, StprError if no video can be written."""
        frame = result.frame
        camera = self._cameras.setdefault(frame.source.name, _Camera())
        if camera.past and frame.captured_at < camera.past[-1].captured_at:  # the clock changed
            self._finish(camera, time.monotonic() + CLOSE_SECONDS)
        now = frame.captured_at
        for event in result.events:
            if isinstance(event, Start):
                name = f"{plain(frame.source.name)[:CAMERA_LETTERS]}-{event.label}-{event.id}"
                camera.clips.append(_Clip(name, now - BEFORE, now + LONGEST))
            elif camera.clips:
                camera.clips[-1].end = min(camera.clips[-1].end, now + AFTER)
        _, picture = cv2.imencode(".jpg", cv2.cvtColor(camera.overlay.draw(result), cv2.COLOR_RGB2BGR))
        camera.past.append(_Past(now, picture.tobytes(), rate_of(frame)))
        camera.size += picture.size
        while camera.past[0].captured_at < now - BEFORE or camera.size > MOST_BYTES:
            self._let_one_go(camera)

    def close(self) -> None:
        """Write the rest of the open clips, as far as time allows."""
        deadline = time.monotonic() + CLOSE_SECONDS
        for camera in self._cameras.values():
            self._finish(camera, deadline)

    def _finish(self, camera: _Camera, deadline: float) -> None:
        while camera.past and camera.clips and time.monotonic() < deadline:
            self._let_one_go(camera)
        camera.past.clear()
        camera.size = 0
        while camera.clips:
            if (video := camera.clips.pop().video) is not None:
                video.close()

    def _let_one_go(self, camera: _Camera) -> None:
        """Remove the oldest picture from the buffer and write it to the clips it belongs to."""
        leaving = camera.past.popleft()
        camera.size -= len(leaving.picture)
        while camera.clips and camera.clips[0].end < leaving.captured_at:
            if (video := camera.clips.pop(0).video) is not None:
                video.close()
        wanted = [clip for clip in camera.clips if clip.begin <= leaving.captured_at <= clip.end]
        if not wanted:
            return
        decoded = cv2.imdecode(np.frombuffer(leaving.picture, np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None  # we encoded it
        picture: Image = np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)
        for clip in wanted:
            if clip.video is None:
                clip.video = self._open(camera, clip, picture, leaving)
            clip.video.write(picture, leaving.captured_at)

    def _open(self, camera: _Camera, clip: _Clip, picture: Image, first: _Past) -> VideoFile:
        try:
            self._store.check_room()
            return VideoFile(self._store.new(clip.name), picture, first.captured_at, first.fps)
        except StprError:
            camera.clips.remove(clip)
            raise


def open_clips(settings: Settings) -> Clips | None:
    """Open the sink if `--clips` is set."""
    return None if settings.clips is None else Clips(Store(settings.clips, settings))
