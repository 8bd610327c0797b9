"""A network stream that stays near real time, whatever is buffered and however slow decoding is.

open ─▶ the initial backlog is skipped ─▶ frames with capture times
│ older than BUDGET: decode without showing until a
▼ frame is FRESH; if that fails, the stream is lost
and connected again
"""

from __future__ import annotations

import resource
import time
from typing import Final, Literal, TypeAlias

import cv2

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.sources.capture import Shot, retrieve_rgb
from stpr.runtime.sources.clock import DRIFT, Clock
from stpr.runtime.sources.files import CODECS, codec_change, fourcc, no_frame
from stpr.runtime.sources.pictures import stalled
from stpr.runtime.sources.reasons import FIXES

BUDGET_SECONDS: Final = 1.0  # maximum age of a decoded frame
SEGMENT_SECONDS: Final = 10.0  # the same where frames come in segments
FRESH_SECONDS: Final = 0.2  # age at which catching up ends
CATCH_UP_SECONDS: Final = 3.0  # maximum duration of catching up
SETTLE_SECONDS: Final = 5.0  # maximum duration of skipping the initial backlog
SELDOM_SECONDS: Final = 0.7  # between frames; slower streams are hard to open in containers that FFmpeg must probe
FILM_SECONDS: Final = 5.0  # content longer than this that arrives at once is not a camera's buffer
Kind: TypeAlias = Literal["timed", "untimed", "in segments"]
WAITED: Final = 0.5  # share of frames that had to be waited for, above which the newest frames are reached


class StreamCapture:
    """A stream opened by OpenCV, with its clock."""

    skipped = 0

    def __init__(self, device: cv2.VideoCapture, *, threads: int, stall_seconds: float, kind: Kind = "timed") -> None:
        """`threads` decoding threads hold back `threads` - 1 frames.

        The stream is lost if no frame comes for `stall_seconds`. In an "untimed" one, without timestamps, the capture
        time of a frame is when it is decoded. One "in segments" of some seconds is given out at its own pace, as far
        behind as its segments are long.
        """
        self.dropped = 0
        self._began = False
        self._stall_seconds = stall_seconds
        self._device, self._threads, self._codec = device, threads, fourcc(device)
        self._in_segments = kind == "in segments"
        self._budget = SEGMENT_SECONDS if self._in_segments else BUDGET_SECONDS
        self._behind = 0.0  # how long frames of segments are held back, in seconds
        drift = 0.0 if self._in_segments else DRIFT  # held back, no frame tells how far the clocks have drifted
        self._clock = Clock(held=threads - 1, drift=drift) if kind != "untimed" else None
        self._settle_until = time.monotonic() + (SETTLE_SECONDS if self._clock is not None else 0.0)
        self._first: tuple[float, float] | None = None  # arrival and timestamp of the first frame

    def read(self) -> Shot | None:
        """The next frame that is not too old, or None; raises SourceError if the stream is lost."""
        late: _Late | None = None
        while True:
            switches = _switches()
            if not self._grabbed():
                self._explain_end()
                return None
            now, waited = time.monotonic(), _switches() > switches
            seen_at = self._seen_at(now)
            if now < self._settle_until:
                if self._clock is not None and not self._clock.is_paced:
                    self.dropped += 1
                    continue
                self._settle_until = 0.0
            if now - seen_at <= (self._budget if late is None else FRESH_SECONDS):
                self._hold_back(seen_at, now, 0.0 if late is not None else self._behind)
                image = retrieve_rgb(self._device)
                return None if image is None else Shot(image, None, seen_at)
            self.dropped += 1
            late = late or _Late(now)
            if late.waits(now, waited) and self._threads == 1 and self._clock is not None:
                self._clock.restart()  # the stream's clock is slow; these are the newest frames
            elif now - late.since > CATCH_UP_SECONDS:
                raise SourceError(
                    f"this machine decodes it too slowly and is {now - seen_at:.1f} s behind; choose a smaller or"
                    " slower stream of the camera, or more --threads",
                    code="late",
                )

    def close(self) -> None:
        """Release the connection."""
        self._device.release()

    def _grabbed(self) -> bool:
        """Grab the next frame; False at the end. Raises SourceError if it came too late or there never was one."""
        begun = time.monotonic()
        grabbed = self._device.grab()
        if self._began and time.monotonic() - begun >= self._stall_seconds:
            raise stalled(self._stall_seconds)  # even if the decoder returned a frame that it had held back
        if not grabbed and not self._began:
            if fourcc(self._device) in CODECS:
                raise SourceError(f"{no_frame(self._device)}; {FIXES['codec']}", code="codec")
            raise SourceError("it answers, but no frame of it came in time", code="timeout")
        self._began = True
        return grabbed

    def _explain_end(self) -> None:
        """Raise SourceError if the codec changed.

        Likewise if all frames came at once: FFmpeg gave up opening a slow stream, or it is a video file.
        """
        if (change := codec_change(self._device, self._codec)) is not None:
            raise SourceError(change, code="codec")
        if self._first is None or not self._settle_until:
            return
        came_in, lasts = time.monotonic() - self._first[0], self._own - self._first[1]
        if self.dropped > 1 and (period := lasts / (self.dropped - 1)) >= SELDOM_SECONDS:
            raise SourceError(
                f"it gives a frame every {period:.1f} s, too few to be opened in time; choose more frames a second in"
                " the camera's settings",
                code="slow",
            )
        if lasts > FILM_SECONDS and came_in < lasts / 2:
            raise SourceError(
                f"it sent a video of {lasts:.0f} s within {came_in:.1f} s, without announcing a length, so it was taken"
                " for a camera; download it and watch the file",
                code="gone",
            )

    def _hold_back(self, seen_at: float, now: float, behind: float) -> None:
        """Wait until the frame is as old as the oldest one that came with its segment."""
        if self._in_segments:
            self._behind = max(behind, now - seen_at)
            time.sleep(max(0.0, seen_at + self._behind - now))

    def _seen_at(self, now: float) -> float:
        if self._clock is None:
            return now
        self._own = self._device.get(cv2.CAP_PROP_POS_MSEC) / 1000
        self._first = self._first or (now, self._own)
        return self._clock.seen_at(now, self._own)


class _Late:
    """Tracks since when a reader is late, and how many frames it nevertheless had to wait for."""

    def __init__(self, now: float) -> None:
        self.since = now
        self._frames = self._waited = 0

    def waits(self, now: float, waited: bool) -> bool:
        """Count a frame; returns whether the reader waits for most frames, so it has no backlog."""
        self._frames, self._waited = self._frames + 1, self._waited + waited
        return now - self.since > CATCH_UP_SECONDS / 3 and self._waited > WAITED * self._frames


def _switches() -> int:
    """This thread's number of voluntary context switches, which happen when it waits."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
