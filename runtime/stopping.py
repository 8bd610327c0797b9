"""The first Ctrl-C, SIGTERM or SIGHUP ends a run cleanly and soon, whatever it is doing; the second ends it at once.

Python runs a handler only when the main thread is back from what it does in C, and that may take long: a connection
that waits for its server, a large frame. So a thread of our own is woken by the signal itself.

    signal ─▶ stops are called ─▶ FINISH ─▶ finishers are called ─▶ GRACE ─▶ last words, exit 0 ─▶ LAST ─▶ exit 1
                    └─ the main thread comes to its end by itself meanwhile: as a rule, at once

The process then ends where it is: Python's own end would wait for what hangs in a driver or a library, and nothing
could watch over that any more.
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

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FINISH_SECONDS: Final = 0.8  # for the main thread to end by itself, before files are finished without it
GRACE_SECONDS: Final = 1.8  # from the signal to the end: systems ask for two seconds
LAST_SECONDS: Final = 8.0  # from the signal on, where something keeps Python's lock and no thread of ours can run
REPEAT_SECONDS: Final = 0.1  # one signal may come twice: to the process and to its group
STDERR: Final = 2
NOTHING: Final = "0 frames, 0 encoded, 0 dropped, 0 reconnects, 0.0 fps, no prediction: stopped before the first frame"


class StoppedError(BaseException):
    """A signal came while there was nothing yet that could be stopped; no `except Exception` may hold it."""


class Stopping:
    """What a signal does; made by `stop_on_signals`."""

    def __init__(self) -> None:
        self._stops: tuple[Callable[[], None], ...] = ()
        self._finish: Callable[[], None] = lambda: None
        self._words: Callable[[], str] = lambda: NOTHING
        self._asked_at: float | None = None
        self._spoken = threading.Lock()  # taken once, by who says the last words

    @contextmanager
    def by(self, *stops: Callable[[], None], finish: Callable[[], None], words: Callable[[], str]) -> Iterator[None]:
        """Within the block a signal calls `stops`, and `finish` a little later; `words` are said at its end.

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
    def asked(self) -> bool:
        """Whether a signal came."""
        return self._asked_at is not None

    def conclude(self) -> None:
        """Say the last words, unless they were said."""
        if self._spoken.acquire(blocking=False):
            click.echo(self._words(), err=True)

    def handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  (a handler's signature)
        """What the main thread does about a signal."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            if not self._stops:
                raise StoppedError
        elif time.monotonic() - self._asked_at > REPEAT_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def watch(self, woken: int) -> None:
        """Wait for signals, each a byte, and do what a main thread that does not come back would have done."""
        if not _next_signal(woken):
            return
        begun = time.monotonic()
        # No thread of Python's; it says where all of those are, on standard error.
        faulthandler.dump_traceback_later(LAST_SECONDS, exit=True, file=STDERR)
        self._stop()
        for step, due in ((self._finish, begun + FINISH_SECONDS), (self._conclude_soon, begun + GRACE_SECONDS)):
            second = _next_signal(woken, due, not_before=begun + REPEAT_SECONDS)
            if second == 0:
                return
            if second is not None:
                time.sleep(REPEAT_SECONDS)  # for the main thread to end by the signal itself
                os._exit(128 + second)
            step()
        os._exit(0)

    def _conclude_soon(self) -> None:
        """The last words, unless nobody takes them: a terminal may hang too."""
        speaking = threading.Thread(target=self.conclude, daemon=True)
        speaking.start()
        speaking.join(REPEAT_SECONDS)

    def _stop(self) -> None:
        for stop in self._stops:
            stop()


@contextmanager
def stop_on_signals() -> Iterator[Stopping]:
    """Signals are obeyed in this block, which a main thread must enter; what it does until `by` is simply left.

    Where one came, the process ends with the block; what the block raises is still raised.
    """
    stopping = Stopping()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    # A process that was told to outlive its terminal (nohup) does.
    before = {number: found for number in SIGNALS if (found := signal.getsignal(number)) != signal.SIG_IGN}
    woken_before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    watching = threading.Thread(target=stopping.watch, args=(reading,), name="signals", daemon=True)
    watching.start()
    for number in before:
        signal.signal(number, stopping.handle)
    try:
        with suppress(StoppedError):
            yield stopping
        if stopping.asked:
            stopping.conclude()
            os._exit(0)  # nothing waits in Python's buffers: sinks and lines are written past them or at once
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken_before)
        os.write(writing, bytes([0]))  # no signal: the watching ends
        watching.join()
        os.close(reading)
        os.close(writing)


def end_process(code: int) -> None:
    """End the process now if threads of it are still at work, as in a driver that hangs; else let Python do it.

    Where a thread is inside OpenCV, Python's own end aborts or hangs.
    """
    if threading.active_count() > 1:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # closed, full, or none
                stream.flush()
        os._exit(code)


def _next_signal(woken: int, due: float | None = None, *, not_before: float = 0.0) -> int | None:
    """The number of the next signal; 0 where the watching is to end, None where nothing came until then (monotonic)."""
    while True:
        if not select.select([woken], [], [], None if due is None else max(0.0, due - time.monotonic()))[0]:
            return None
        number = os.read(woken, 1)[0]
        if number == 0 or (number in SIGNALS and time.monotonic() >= not_before):
            return number
