"""Run a sink in a separate thread, so that a slow one does not delay recognition."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from stpr.runtime.result import Result
from stpr.runtime.sinks.sink import Counts, Guarded, StopRun

ROOM: Final = 16  # results in the queue; each holds a picture: 44 MB in total at 1280x720
CLOSE_SECONDS: Final = 0.7  # for the queue, and again for the current write, so that a stop takes under two seconds
PATIENCE: Final = 5.0  # seconds that a sink may be too slow before a warning
LOOK_SECONDS: Final = 0.2  # polling interval for changes by a signal handler

log = logging.getLogger(__name__)


class Background:
    """A bounded queue in front of a sink.

    When it is full, a result of a live source replaces the oldest one, which is counted as dropped; a result of a
    recorded source waits for space, so that nothing of a file is lost. After `stop` nothing waits any more.
    """

    def __init__(self, sink: Guarded) -> None:
        self.name, self.every_frame = sink.name, sink.every_frame
        self._sink = sink
        self._waiting: deque[Result] = deque()
        self._dropped = 0
        self._dropped_at, self._slow_since = float("-inf"), 0.0
        self._patient = False  # the queue is from a recorded source
        self._stopped = self._closing = self._done = False
        self._hurry_from = 0.0  # time of the last stop or finish
        self._end: StopRun | BrokenPipeError | None = None  # raised in the run's thread
        # Its lock is reentrant by default, so that a signal handler may call `stop` at any point.
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=f"sink {sink.name}", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> Counts:
        """Counts of the results so far; those that `close` did not wait for count as dropped."""
        found = self._sink.counts
        return Counts(found.written, self._dropped, found.failed)

    @property
    def broken(self) -> bool:
        """Whether the sink is broken."""
        return self._sink.broken

    def write(self, result: Result) -> None:
        """Queue a result. Raises the StopRun or BrokenPipeError of an earlier one."""
        with self._changed:
            self._patient = not result.frame.source.is_live
            if self._patient:
                self._wait(lambda: len(self._waiting) < ROOM or self._stopped or self._done)
            self._raise_end()
            if self._done:  # the sink has finished already
                self._dropped += 1
                return
            if len(self._waiting) == ROOM:
                self._drop_one()
            self._waiting.append(result)
            self._changed.notify_all()

    def stop(self) -> None:
        """The run ends soon: don't wait. May be called from any thread or signal handler."""
        with self._changed:
            if not self._stopped:
                self._stopped, self._hurry_from = True, time.monotonic()
            self._changed.notify_all()

    def finish(self) -> None:
        """No result will follow: let the sink finish. May be called from any thread."""
        with self._changed:
            if not self._closing:
                self._closing, self._hurry_from = True, time.monotonic()
            self._changed.notify_all()

    def close(self) -> None:
        """Let the sink finish: the whole queue of a recorded source; of a live one, or after `stop`, what time allows.

        A sink that hangs is abandoned with a warning. Raises a StopRun or BrokenPipeError that no `write` has raised.
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
                log.warning("%s hangs and is abandoned; its output may be incomplete.", self.name)
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
                if self._end is None:  # results that came while the sink was finishing
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
        """Drop the oldest result in the queue, one without an event if possible."""
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
        # With a timeout, since a signal handler between check and wait would wake nobody.
        while not ready() and (left := until - time.monotonic()) > 0:
            self._changed.wait(min(left, LOOK_SECONDS))

    def _raise_end(self) -> None:
        end, self._end = self._end, None
        if end is not None:
            raise end
