"""Entry points of the commands that run until they are stopped: they handle signals before importing anything else.

Importing the command line takes most of the time until a run handles signals itself (0.16 of 0.20 CPU seconds on a PC,
the rest is Python's own start), in which Ctrl-C would print a traceback.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NOTHING = "0 frames, 0 encoded, 0 dropped, 0 reconnects, 0.0 fps, no prediction: stopped before the first frame"


def run() -> None:
    """`stpr-run`."""
    _import_commands()
    from stpr.runtime.cli import run

    run()


def record() -> None:
    """`stpr-record`."""
    _import_commands()
    from stpr.runtime.cli import record

    record()


def _import_commands() -> None:
    """Import the command line; a signal meanwhile ends the process, unless it is ignored, as under nohup."""
    before = {number: found for number in SIGNALS if (found := signal.getsignal(number)) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, _end)
    import stpr.runtime.cli  # noqa: F401

    for number, handler in before.items():
        signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  (a handler's signature)
    with suppress(OSError):  # closed
        os.write(2, f"{NOTHING}\n".encode())
    os._exit(0)
