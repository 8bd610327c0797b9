"""A network stream that stays near the present, whatever waits in the socket and however slow decoding is.

open ─▶ what is older than the present is passed over ─▶ frames, each with the time at which it was seen
│ older than BUDGET: frames are decoded, not shown,
▼ until one is FRESH; where that does not help, it is
lost, and a new connection begins at the present
"""

from __future__ import annotations

import resource
import time
from typing import Final

import cv2

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.sources.capture import Shot, retrieve_rgb
from stpr.runtime.sources.clock import Clock
from stpr.runtime.sources.files import CODECS, fourcc, no_frame
from stpr.runtime.sources.pictures import stalled
from stpr.runtime.sources.reasons import FIXES

BUDGET_SECONDS: Final = 1.0  # a frame that is older when it comes out of the decoder is not shown
FRESH_SECONDS: Final = 0.2  # catching up ends at a frame that is no older
CATCH_UP_SECONDS: Final = 3.0  # for catching up
SETTLE_SECONDS: Final = 5.0  # for what waited at the start, from before the connection was made
FILM_SECONDS: Final = 5.0  # what is longer, and is there at once, does not wait in a camera
WAITED: Final = 0.5  # share of the frames; who has to wait for more of them has the newest that there are


class StreamCapture:
    """A stream that OpenCV has opened, with its own clock."""

    skipped = 0

    def __init__(self, device: cv2.VideoCapture, *, threads: int, stall_seconds: float, has_clock: bool = True) -> None:
        """`threads` decode, so all but one of as many frames are always on their way.

        Where none comes for `stall_seconds` the stream is lost.
        Without a clock of its own a stream's frames count as seen when they are decoded.
        """
        self.dropped = 0
        self._began = False
        self._stall_seconds = stall_seconds
        self._device, self._threads = device, threads
        self._clock = Clock(held=threads - 1) if has_clock else None
        self._settle_until = time.monotonic() + (SETTLE_SECONDS if has_clock else 0.0)
        self._first: tuple[float, float] | None = None  # when the first frame came, and its own time

    def read(self) -> Shot | None:
        """The next frame that is not too old, or None; raises SourceError where none of them can be had any more."""
        late: _Late | None = None
        while True:
            switches = _switches()
            if not self._grabbed():
                self._refuse_film()
                return None
            now, waited = time.monotonic(), _switches() > switches
            seen_at = self._seen_at(now)
            if now < self._settle_until:
                if self._clock is not None and not self._clock.is_paced:
                    self.dropped += 1
                    continue
                self._settle_until = 0.0
            if now - seen_at <= (BUDGET_SECONDS if late is None else FRESH_SECONDS):
                image = retrieve_rgb(self._device)
                return None if image is None else Shot(image, None, seen_at)
            self.dropped += 1
            late = late or _Late(now)
            if late.waits(now, waited) and self._threads == 1 and self._clock is not None:
                self._clock.restart()  # the stream's clock is slow: these are the newest frames that there are
            elif now - late.since > CATCH_UP_SECONDS:
                raise SourceError(
                    f"this machine decodes it too slowly and is {now - seen_at:.1f} s behind; choose a smaller or"
                    " slower stream of the camera, or more --threads",
                    code="late",
                )

    def close(self) -> None:
        """Give the connection back."""
        self._device.release()

    def _grabbed(self) -> bool:
        """Whether there is a next frame; raises SourceError where it came too late, or there never was one."""
        begun = time.monotonic()
        grabbed = self._device.grab()
        if self._began and time.monotonic() - begun >= self._stall_seconds:
            raise stalled(self._stall_seconds)  # also where the decoder gave a frame that it had held back until then
        if not grabbed and not self._began:
            if fourcc(self._device) in CODECS:
                raise SourceError(f"{no_frame(self._device)}; {FIXES['codec']}", code="codec")
            raise SourceError("it answers, but no frame of it came in time", code="timeout")
        self._began = True
        return grabbed

    def _refuse_film(self) -> None:
        """Raise SourceError where all of it came sooner than a camera could have filmed it."""
        if self._first is None or not self._settle_until:
            return
        came_in, lasts = time.monotonic() - self._first[0], self._own - self._first[1]
        if lasts > FILM_SECONDS and came_in < lasts / 2:
            raise SourceError(
                f"it sent a film of {lasts:.0f} s within {came_in:.1f} s and ended, and said no length, so it was taken"
                " for a camera; download it and watch the file",
                code="gone",
            )

    def _seen_at(self, now: float) -> float:
        if self._clock is None:
            return now
        self._own = self._device.get(cv2.CAP_PROP_POS_MSEC) / 1000
        self._first = self._first or (now, self._own)
        return self._clock.seen_at(now, self._own)


class _Late:
    """Since when a reader is late, and for how many frames it has had to wait all the same."""

    def __init__(self, now: float) -> None:
        self.since = now
        self._frames = self._waited = 0

    def waits(self, now: float, waited: bool) -> bool:
        """Count a frame; tells whether the reader waits for most of them, once that can be told."""
        self._frames, self._waited = self._frames + 1, self._waited + waited
        return now - self.since > CATCH_UP_SECONDS / 3 and self._waited > WAITED * self._frames


def _switches() -> int:
    """How often this thread has given up the processor by itself, to wait for something; work does not count."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
