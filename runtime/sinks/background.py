"""A sink on a thread of its own, so that a slow one never holds recognition."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from stpr.runtime.result import Result
from stpr.runtime.sinks.sink import Counts, Guarded, StopRun

ROOM: Final = 16  # results that may wait; each holds a picture: 44 MB of them at 1280x720
CLOSE_SECONDS: Final = 0.7  # for what waits, and again for what was begun: a stop takes less than two seconds
PATIENCE: Final = 5.0  # seconds that a sink may be too slow before a word is said of it
LOOK_SECONDS: Final = 0.2  # between two looks at what a signal handler may have changed

log = logging.getLogger(__name__)


class Background:
    """A bounded queue before a sink.

    When it is full, a result of a live source drives out the oldest that waits, and that is counted; one of a recorded
    source waits for room, so that nothing of a file is lost. After `stop` nothing waits any more.
    """

    def __init__(self, sink: Guarded) -> None:
        self.name, self.every_frame = sink.name, sink.every_frame
        self._sink = sink
        self._waiting: deque[Result] = deque()
        self._dropped = 0
        self._dropped_at, self._slow_since = float("-inf"), 0.0
        self._patient = False  # what waits is of a recorded source
        self._stopped = self._closing = self._done = False
        self._hurry_from = 0.0  # when it was last told to stop or to finish
        self._end: StopRun | BrokenPipeError | None = None  # for the run's thread to raise
        # Reentrant by default, so that a signal handler may call `stop` whatever it interrupted.
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=f"sink {sink.name}", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> Counts:
        """What became of the results so far; those that a close did not wait for are dropped."""
        found = self._sink.counts
        return Counts(found.written, self._dropped, found.failed)

    @property
    def broken(self) -> bool:
        """Whether the sink is broken."""
        return self._sink.broken

    def write(self, result: Result) -> None:
        """Let a result wait for its turn. Raises the StopRun or BrokenPipeError of an earlier one."""
        with self._changed:
            self._patient = not result.frame.source.is_live
            if self._patient:
                self._wait(lambda: len(self._waiting) < ROOM or self._stopped or self._done)
            self._raise_end()
            if self._done:  # the sink has come to its end already
                self._dropped += 1
                return
            if len(self._waiting) == ROOM:
                self._drop_one()
            self._waiting.append(result)
            self._changed.notify_all()

    def stop(self) -> None:
        """The run is to end soon: wait for nobody. From any thread or signal handler."""
        with self._changed:
            if not self._stopped:
                self._stopped, self._hurry_from = True, time.monotonic()
            self._changed.notify_all()

    def finish(self) -> None:
        """No result will follow: let the sink come to its end. From any thread."""
        with self._changed:
            if not self._closing:
                self._closing, self._hurry_from = True, time.monotonic()
            self._changed.notify_all()

    def close(self) -> None:
        """Let the sink finish: all that waits of a recorded source; of a live one, or after `stop`, what time allows.

        A sink that hangs is left behind then, and that is said. Raises what no `write` has raised (StopRun or
        BrokenPipeError).
        """
        self.finish()
        with self._changed:
            self._wait(lambda: self._done or self._stopped or not self._patient)
            self._wait(lambda: self._done, self._hurry_from + CLOSE_SECONDS)
            if not self._done:
                self._dropped += len(self._waiting)
                self._waiting.clear()
                self._wait(lambda: self._done, self._hurry_from + 2 * CLOSE_SECONDS)
            if not self._done:
                log.warning("%s hangs and is left behind; what it was writing may be incomplete.", self.name)
            self._raise_end()

    def _work(self) -> None:
        try:
            while (result := self._next()) is not None:
                self._sink.write(result)
        except (StopRun, BrokenPipeError) as end:
            self._end = end
        finally:
            self._sink.close()
            with self._changed:
                self._done = True
                if self._end is None:  # what came while the sink came to its end
                    self._dropped += len(self._waiting)
                    self._waiting.clear()
                self._changed.notify_all()

    def _next(self) -> Result | None:
        """Wait for a result; None when there will be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            result = self._waiting.popleft() if self._waiting else None
            self._changed.notify_all()
            return result

    def _drop_one(self) -> None:
        """Make room: of what waits the oldest, but an event only where all of it are events."""
        at = next((at for at, waiting in enumerate(self._waiting) if not waiting.events), 0)
        del self._waiting[at]
        self._dropped += 1
        now = time.monotonic()
        if now - self._dropped_at > PATIENCE:
            self._slow_since = now
        self._dropped_at = now
        if now - self._slow_since >= PATIENCE:
            log.warning("%s: slower than what it is to take, %d results were dropped so far", self.name, self._dropped)

    def _wait(self, ready: Callable[[], bool], until: float = float("inf")) -> None:
        # In short waits: a signal handler that comes between the look and the wait would wake nobody.
        while not ready() and (left := until - time.monotonic()) > 0:
            self._changed.wait(min(left, LOOK_SECONDS))

    def _raise_end(self) -> None:
        end, self._end = self._end, None
        if end is not None:
            raise end
