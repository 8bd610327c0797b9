"""Logging of a run to standard error: lines with time and level; repetitions are counted instead of repeated.

    2026-11-26 03:41:07+00:00 WARNING mqtt: no broker at house:1883 (refused); … (17 more like it were left out)

Modules use Python's logging; only this module formats it. The systemd journal adds its own time and expects numeric
levels, so there a line begins with `<4>` instead.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import click

LEVELS: Final = ("error", "warning", "info", "debug")
AT_ONCE: Final = 4  # lines of a kind that are shown at once
LINE_SECONDS: Final = 60.0  # until a further one is allowed
FIRST_WORD_SECONDS: Final = 4.0  # of waiting in silence
KINDS: Final = 256  # kinds of lines that are tracked
JOURNAL: Final = "JOURNAL_STREAM"  # device and inode of the journal's stream, set by systemd
PRIORITIES: Final[Mapping[int, int]] = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}


class Allowance:
    """A rate limit: some lines at once, then one per minute; counts suppressed ones."""

    def __init__(self) -> None:
        self._left, self._filled_at = float(AT_ONCE), time.monotonic()
        self._refused = 0

    def take(self) -> int | None:
        """How many lines were left out before this one; None where this one is to be left out too."""
        now = time.monotonic()
        self._left = min(AT_ONCE, self._left + (now - self._filled_at) / LINE_SECONDS)
        self._filled_at = now
        if self._left < 1:
            self.refuse()
            return None
        self._left -= 1
        refused, self._refused = self._refused, 0
        return refused

    def refuse(self) -> None:
        """Leave a line out that there may have been room for."""
        self._refused += 1


class Overdue:
    """Says in a thread that something is waited for: after some seconds, then once a minute, until `done`.

    Used as a context manager around a call that may block.
    """

    def __init__(self, say: Callable[[float], None]) -> None:
        """`say` gets the seconds that have passed."""
        self._say, self._done = say, threading.Event()
        threading.Thread(target=self._watch, name="overdue", daemon=True).start()

    def done(self) -> None:
        """Say nothing any more; may be called from any thread, and repeatedly."""
        self._done.set()

    def __enter__(self) -> Overdue:
        return self

    def __exit__(self, *_: object) -> None:
        self.done()

    def _watch(self) -> None:
        begun, pause = time.monotonic(), FIRST_WORD_SECONDS
        while not self._done.wait(pause):
            self._say(time.monotonic() - begun)
            pause = LINE_SECONDS


@dataclass(slots=True)
class _Kind:
    """Lines that differ only in their numbers."""

    allowance: Allowance = field(default_factory=Allowance)
    said_at: float = float("-inf")  # monotonic


class Repeats:
    """Decides which lines to suppress: repetitions of a module's last line, and floods of one kind.

    A repetition is shown again after a minute; lines that differ only in numbers are one kind.
    """

    def __init__(self) -> None:
        self._kinds: OrderedDict[tuple[str, str], _Kind] = OrderedDict()
        self._last: dict[str, tuple[str, str]] = {}  # by module

    def left_out(self, module: str, words: str) -> int | None:
        """How many lines of its kind were left out before this one; None where this one is to be left out too."""
        key, now = (module, re.sub(r"[0-9.]+", "#", words)), time.monotonic()
        kind = self._kinds.setdefault(key, _Kind())
        self._kinds.move_to_end(key)
        if len(self._kinds) > KINDS:
            self._kinds.popitem(last=False)
        if self._last.get(module) == key and now - kind.said_at < LINE_SECONDS:
            kind.allowance.refuse()
            return None
        found = kind.allowance.take()
        if found is not None:
            self._last[module], kind.said_at = key, now
        return found


class Lines(logging.Handler):
    """Writes to the current standard error, ignoring write errors."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._repeats = None if level == logging.DEBUG else Repeats()
        self._to_journal = is_journal()

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, unless it is suppressed. Called with the handler's lock held."""
        left_out = 0
        if self._repeats is not None:
            kind = record.exc_info[0] if record.exc_info else None  # tracebacks come in floods too
            words = record.getMessage() + (kind.__name__ if kind else "")
            found = self._repeats.left_out(record.name, words)
            if found is None:
                return
            left_out = found
        with suppress(OSError, ValueError):  # closed, full, or its reader has gone
            click.echo(self._line(record, left_out), err=True)

    def _line(self, record: logging.LogRecord, left_out: int) -> str:
        words = record.getMessage() + (f" ({left_out} more like it were left out)" if left_out else "")
        if record.exc_info:
            words += "\n" + logging.Formatter().formatException(record.exc_info)
        if self._to_journal:
            priority = PRIORITIES.get(record.levelno, 6)
            return "\n".join(f"<{priority}>{line}" for line in words.splitlines())
        at = datetime.fromtimestamp(record.created).astimezone().isoformat(" ", "seconds")
        return f"{at} {record.levelname:<7} {words}"


@contextmanager
def saying(level: str) -> Iterator[None]:
    """Within the block, show messages of this level or above; `debug` suppresses nothing, and includes libraries."""
    root, ours = logging.getLogger(), logging.getLogger("stpr")
    number = getattr(logging, level.upper())
    lines, before = Lines(number), (root.level, ours.level)
    root.addHandler(lines)
    ours.setLevel(number)
    if number == logging.DEBUG:
        root.setLevel(number)
    try:
        yield
    finally:
        root.removeHandler(lines)
        root.setLevel(before[0])
        ours.setLevel(before[1])


def is_journal() -> bool:
    """Whether standard error is connected to the systemd journal (it may have been redirected since)."""
    with suppress(OSError, ValueError, AttributeError):
        found = os.fstat(sys.stderr.fileno())
        return os.environ.get(JOURNAL) == f"{found.st_dev}:{found.st_ino}"
    return False
