"""Live sources: a reading thread, a mailbox with the newest frames, and automatic reconnects.

The thread reads the capture, adds a timestamp to each frame and puts it into the mailbox; if the capture is lost it
reconnects, indefinitely. Everything else happens in the caller's thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.log import Overdue
from stpr.runtime.sources.capture import Capture, Shot
from stpr.runtime.sources.frame import Frame, Origin, WhenBehind
from stpr.runtime.sources.mailbox import Mailbox
from stpr.runtime.sources.outage import Outage

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds between attempts to connect: first value, doubled up to the second
LOCKED_OUT_PAUSE = 300.0  # after wrong credentials, since some cameras lock out users after repeated attempts
JOIN_SECONDS = 2.0  # a read that hangs in a driver must not keep the program from ending


class LiveSource:
    """A camera or stream that is read in real time and reconnected if lost."""

    ends = False  # whether a lost capture ends the source

    def __init__(
        self,
        name: str,
        connect: Callable[[], Capture],
        *,
        fps: float | None = None,
        when_behind: WhenBehind = WhenBehind.DROP_OLDEST,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        """Connects immediately, so that a missing camera raises SourceError here, not in the thread."""
        self.origin = Origin(name, is_live=True, fps=fps)
        self.reconnects = 0
        self._connect = connect
        self._first_pause = first_pause
        self._outage = Outage(name)
        self._mailbox: Mailbox[Frame] = Mailbox(when_behind)
        self._passed = 0  # totals of captures that were lost
        self.skipped = 0
        self._thread = threading.Thread(target=self._capture, args=(connect(),), name=f"capture {name}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Number of frames skipped to stay near real time, or not taken in time."""
        return self._passed + self._mailbox.dropped

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames as they come; re-raises errors of the thread."""
        while (frame := self._mailbox.take()) is not None:
            yield frame

    def stop(self) -> None:
        """End the iteration; may be called from any thread or signal handler."""
        self._mailbox.close()

    def close(self) -> None:
        """Stop, and wait briefly for the thread to release the device."""
        self.stop()
        self._thread.join(JOIN_SECONDS)

    def _capture(self, capture: Capture) -> None:
        index, pause = 0, self._first_pause
        with self._mailbox:
            while not self._mailbox.closed_within(0):
                dropped, skipped = capture.dropped, capture.skipped
                shot, reason = _read(capture)
                passed, unreadable = capture.dropped - dropped, capture.skipped - skipped
                self._passed, self.skipped, index = self._passed + passed, self.skipped + unreadable, index + passed
                if shot is not None:
                    at = time.monotonic() if shot.seen_at is None else shot.seen_at
                    frame = Frame(shot.image, index, at, self.origin, shot.label, connection=self.reconnects)
                    self._mailbox.put(frame, shot.image.nbytes)
                    index, pause = index + 1, self._first_pause
                    continue
                capture.close()
                if self.ends:
                    return
                self._outage.begins(reason)
                if (found := self._reconnect(pause)) is None:
                    return
                # Also pause for a server that accepts connections but sends nothing.
                capture, pause = found, min(2 * pause, LONGEST_PAUSE)
            capture.close()

    def _reconnect(self, pause: float) -> Capture | None:
        """Connect again, however long it takes; None if the source was stopped meanwhile."""
        while not self._mailbox.closed_within(pause):
            try:
                with Overdue(self._outage.awaits):
                    capture = self._connect()
            except SourceError as error:
                self._outage.goes_on(error)
                pause = pause_after(error, pause)
                continue
            self.reconnects += 1
            self._outage.ends()
            return capture
        return None


class PipedSource(LiveSource):
    """A live source that can't be reconnected: standard input."""

    ends = True


def pause_after(error: SourceError, pause: float) -> float:
    """Seconds to wait after a failed attempt, given the previous pause."""
    return LOCKED_OUT_PAUSE if error.code == "unauthorised" else min(2 * pause, LONGEST_PAUSE)


def _read(capture: Capture) -> tuple[Shot | None, SourceError | None]:
    """Read the next frame; None and, if known, the reason on failure."""
    try:
        return capture.read(), None
    except SourceError as error:
        return None, error
