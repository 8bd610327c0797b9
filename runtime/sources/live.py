"""A live source: one thread that reads, one mailbox with the newest frame, and a connection that comes back.

The thread reads the capture, stamps each frame and puts it into the mailbox; when the capture is lost it connects
again, for ever. Everything else happens on the caller's thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.sources.capture import Capture
from stpr.runtime.sources.frame import Frame, Origin, WhenBehind

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds between attempts to connect: doubling from the one to the other
JOIN_SECONDS = 2.0  # a read that hangs in the driver must not keep the program from ending

log = logging.getLogger(__name__)


class Mailbox:
    """Room for one frame between the thread that captures and the one that reads.

    As a context manager it belongs to the capturing thread: whatever ends that thread is raised by the next `take`.
    """

    def __init__(self, when_behind: WhenBehind) -> None:
        self.dropped = 0
        self._when_behind = when_behind
        self._frame: Frame | None = None
        self._error: BaseException | None = None
        self._closed = False
        # Reentrant by default, so that a signal handler may call `close` whatever it interrupted.
        self._changed = threading.Condition()

    def put(self, frame: Frame) -> None:
        """Leave a frame; replaces one that was not taken, or waits until it is taken."""
        with self._changed:
            if self._when_behind is WhenBehind.WAIT:
                self._changed.wait_for(lambda: self._frame is None or self._closed)
            if self._closed:
                return
            self.dropped += self._frame is not None
            self._frame = frame
            self._changed.notify_all()

    def take(self) -> Frame | None:
        """Wait for a frame; None once closed. Raises what ended the capturing thread."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self._closed)
            if self._frame is None and self._error is not None:
                raise self._error
            frame, self._frame = self._frame, None
            self._changed.notify_all()
            return frame

    def close(self) -> None:
        """Wake both sides and let them end; a frame that was not taken is forgotten."""
        with self._changed:
            self._closed = True
            self._frame = None
            self._changed.notify_all()

    def closed_within(self, seconds: float) -> bool:
        """Sleep, unless and until the mailbox is closed; tells whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed, seconds)

    def __enter__(self) -> Mailbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        with self._changed:
            self._error = error
            self._closed = True
            self._changed.notify_all()
        return True


class LiveSource:
    """A camera or stream that stays up: newest frame first, reconnecting when it is lost."""

    skipped = 0

    def __init__(
        self,
        name: str,
        connect: Callable[[], Capture],
        *,
        fps: float | None = None,
        when_behind: WhenBehind = WhenBehind.DROP_OLDEST,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        """Connects at once: a camera that isn't there is the caller's SourceError, not a thread's."""
        self.origin = Origin(name, is_live=True, fps=fps)
        self.reconnects = 0
        self._connect = connect
        self._first_pause = first_pause
        self._mailbox = Mailbox(when_behind)
        self._thread = threading.Thread(target=self._capture, args=(connect(),), name=f"capture {name}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Frames that were captured but replaced by a newer one before anybody took them."""
        return self._mailbox.dropped

    def __iter__(self) -> Iterator[Frame]:
        """Frames as they come; raises what broke the capture."""
        while (frame := self._mailbox.take()) is not None:
            yield frame

    def stop(self) -> None:
        """End the iteration, from any thread or signal handler."""
        self._mailbox.close()

    def close(self) -> None:
        """Stop, and wait a moment for the thread to give the device back."""
        self.stop()
        self._thread.join(JOIN_SECONDS)

    def _capture(self, capture: Capture) -> None:
        index, pause = 0, self._first_pause
        with self._mailbox:
            while not self._mailbox.closed_within(0):
                shot = capture.read()
                if shot is not None:
                    image, label = shot
                    now = time.monotonic()
                    self._mailbox.put(Frame(image, index, now, self.origin, label, connection=self.reconnects))
                    index, pause = index + 1, self._first_pause
                    continue
                capture.close()
                log.warning("%s gives no frames; reconnecting until it does.", self.origin.name)
                if (found := self._reconnect(pause)) is None:
                    return
                # A server that accepts and then sends nothing must not be hammered either.
                capture, pause = found, min(2 * pause, LONGEST_PAUSE)
            capture.close()

    def _reconnect(self, pause: float) -> Capture | None:
        """A new connection, however long it takes; None when the source was stopped meanwhile."""
        lost_at = time.monotonic()
        while not self._mailbox.closed_within(pause):
            try:
                capture = self._connect()
            except SourceError:
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            self.reconnects += 1
            log.warning("%s is back after %.1f s.", self.origin.name, time.monotonic() - lost_at)
            return capture
        return None
