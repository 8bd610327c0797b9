"""Unbuffered writing: output is visible at once, and a writer that hangs holds no lock of Python's.

A thread that hangs in `sys.stdout` (a full pipe, a stopped terminal) would make Python abort at exit.
"""

from __future__ import annotations

import io
import sys

from stpr.runtime.contract.errors import StprError


def standard_output() -> io.FileIO:
    """Standard output, not closed by `close`. Raises StprError if it was closed before the program started."""
    if sys.stdout is None:
        raise StprError("standard output is closed; leave it open, or write to a file.")
    return io.FileIO(sys.stdout.fileno(), "wb", closefd=False)


def write_whole(file: io.FileIO, content: bytes) -> None:
    """Write all bytes; a single write may be partial, as when a disk is nearly full."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]
