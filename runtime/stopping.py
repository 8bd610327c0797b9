"""Stop a run: the first Ctrl-C, SIGTERM or SIGHUP ends it cleanly and soon, the second one immediately.

Python runs a signal handler only when the main thread returns from C code, which may take long, as while waiting for a
server or decoding. So a separate thread is woken by the signal itself.

    signal ─▶ call stops ─▶ FINISH ─▶ call finishers ─▶ GRACE ─▶ print summary, exit 0 ─▶ LAST ─▶ exit 1
                    └─ meanwhile the main thread usually ends by itself, at once

The process then ends without Python's shutdown, which would wait for threads that hang in a driver or library.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

import click

from stpr.runtime.entry import NOTHING, SIGNALS

FINISH_SECONDS: Final = 0.8  # time for the main thread to end by itself, before files are closed without it
GRACE_SECONDS: Final = 1.8  # from the signal to the end; service managers expect two seconds
LAST_SECONDS: Final = 8.0  # from the signal on, if the GIL is blocked and no Python thread can run
REPEAT_SECONDS: Final = 0.1  # a signal may arrive twice, for the process and its group
STDERR: Final = 2


class StoppedError(BaseException):
    """A signal arrived before anything could be stopped; not an Exception, so that it is not caught by accident."""


class Stopping:
    """The actions on a signal; created by `stop_on_signals`."""

    def __init__(self) -> None:
        self._stops: tuple[Callable[[], None], ...] = ()
        self._finish: Callable[[], None] = lambda: None
        self._words: Callable[[], str] = lambda: NOTHING
        self._asked_at: float | None = None
        self._spoken = threading.Lock()  # acquired once, by the thread that prints the summary

    @contextmanager
    def by(self, *stops: Callable[[], None], finish: Callable[[], None], words: Callable[[], str]) -> Iterator[None]:
        """Within the block a signal calls `stops`, and `finish` a little later; `words` is printed at its end.

        All may be called by any thread, and more than once.
        """
        self._stops, self._finish, self._words = stops, finish, words
        if self._asked_at is not None:
            self._stop()
        try:
            yield
        finally:
            self.conclude()

    @property
    def requested(self) -> bool:
        """Whether a signal has arrived."""
        return self._asked_at is not None

    @property
    def interrupted(self) -> bool:
        """Whether a signal has interrupted the work, since there was nothing yet to be stopped."""
        return self.requested and not self._stops

    def conclude(self) -> None:
        """Print the summary, once."""
        if self._spoken.acquire(blocking=False):
            words = self._words()
            with suppress(OSError, ValueError):  # closed, or a log file on a full disk
                click.echo(words, err=True)

    def handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  (a handler's signature)
        """The signal handler in the main thread."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            if not self._stops:
                raise StoppedError
        elif time.monotonic() - self._asked_at > REPEAT_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def watch(self, woken: int) -> None:
        """Wait for signals (one byte each), and act for a main thread that does not return."""
        if not _next_signal(woken):
            return
        begun = time.monotonic()
        # Runs without the GIL; prints the tracebacks of all threads to standard error.
        faulthandler.dump_traceback_later(LAST_SECONDS, exit=True, file=STDERR)
        self._stop()
        for step, due in ((self._finish, begun + FINISH_SECONDS), (self._conclude_soon, begun + GRACE_SECONDS)):
            second = _next_signal(woken, due, not_before=begun + REPEAT_SECONDS)
            if second == 0:
                return
            if second is not None:
                time.sleep(REPEAT_SECONDS)  # give the main thread time to end by the signal itself
                os._exit(128 + second)
            step()
        os._exit(0)

    def _conclude_soon(self) -> None:
        """Print the summary, without waiting for a terminal that hangs."""
        speaking = threading.Thread(target=self.conclude, daemon=True)
        speaking.start()
        speaking.join(REPEAT_SECONDS)

    def _stop(self) -> None:
        for stop in self._stops:
            stop()


@contextmanager
def stop_on_signals() -> Iterator[Stopping]:
    """Handle signals in this block, entered by the main thread; before `by` is used, work is simply interrupted.

    After a signal, the process ends with the block. Exceptions of the block are still raised, but not if the signal
    interrupted the work before `by`: a library whose import was interrupted raises an error of its own.
    """
    stopping = Stopping()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    # Keep ignoring SIGHUP under nohup.
    before = {number: found for number in SIGNALS if (found := signal.getsignal(number)) != signal.SIG_IGN}
    woken_before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    watching = threading.Thread(target=stopping.watch, args=(reading,), name="signals", daemon=True)
    watching.start()
    for number in before:
        signal.signal(number, stopping.handle)
    try:
        try:
            yield stopping
        except BaseException as error:
            if not isinstance(error, StoppedError) and not stopping.interrupted:
                raise
        if stopping.requested:
            stopping.conclude()
            os._exit(0)  # Python's buffers are empty, since sinks and logs are unbuffered or flushed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken_before)
        os.write(writing, bytes([0]))  # 0: end of watching
        watching.join()
        os.close(reading)
        os.close(writing)


def end_process(code: int) -> None:
    """Exit immediately if threads are still running, as in a driver that hangs; else leave it to Python.

    If a thread is inside OpenCV, Python's shutdown aborts or hangs.
    """
    if threading.active_count() > 1:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # closed, full, or none
                stream.flush()
        os._exit(code)


def _next_signal(woken: int, due: float | None = None, *, not_before: float = 0.0) -> int | None:
    """The number of the next signal; 0 at the end of watching, None if none arrived until `due` (monotonic)."""
    while True:
        if not select.select([woken], [], [], None if due is None else max(0.0, due - time.monotonic()))[0]:
            return None
        number = os.read(woken, 1)[0]
        if number == 0 or (number in SIGNALS and time.monotonic() >= not_before):
            return number
