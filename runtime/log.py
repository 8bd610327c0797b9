"""What a run says on standard error: a line with its time and level, and what repeats itself is counted.

    2026-11-26 03:41:07+00:00 WARNING mqtt: no broker at house:1883 (refused); … (17 more like it were left out)

Modules speak through Python's logging; this is the one place where that becomes lines. The systemd journal has a time
of its own and wants levels as numbers, so there a line begins with `<4>` instead.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import click

LEVELS: Final = ("error", "warning", "info", "debug")
AT_ONCE: Final = 4  # lines of a kind that may follow each other
LINE_SECONDS: Final = 60.0  # for another one
KINDS: Final = 256  # of lines that are remembered
JOURNAL: Final = "JOURNAL_STREAM"  # device and inode of the stream that leads to the journal, set by systemd
PRIORITIES: Final[Mapping[int, int]] = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}


class Allowance:
    """Some lines at once, then one a minute; counts those that were not allowed."""

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


@dataclass(slots=True)
class _Kind:
    """Lines that are alike but for their numbers."""

    allowance: Allowance = field(default_factory=Allowance)
    said_at: float = float("-inf")  # monotonic


class Repeats:
    """Which lines are left out: one that says the same as the last one of its module, and floods of one kind.

    The same is said again after a minute; lines whose numbers alone differ are one kind.
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
    """Writes to what is standard error just then; where nobody takes it, the run goes on."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._repeats = None if level == logging.DEBUG else Repeats()
        self._to_journal = is_journal()

    def emit(self, record: logging.LogRecord) -> None:
        """Say it, unless it was said just now. The lock of the handler is held."""
        left_out = 0
        if self._repeats is not None and record.exc_info is None:
            found = self._repeats.left_out(record.name, record.getMessage())
            if found is None:
                return
            left_out = found
        with suppress(OSError, ValueError):  # closed, full, or a reader that has gone
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
    """Within the block, what is of that level or graver is said; `debug` holds nothing back, of libraries neither."""
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
    """Whether standard error leads to the systemd journal: said of this very stream, since it may be redirected."""
    with suppress(OSError, ValueError, AttributeError):
        found = os.fstat(sys.stderr.fileno())
        return os.environ.get(JOURNAL) == f"{found.st_dev}:{found.st_ino}"
    return False
