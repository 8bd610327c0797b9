"""Writing past Python's buffers: what was written is seen at once, and a writer that hangs keeps no lock of Python's.

A thread that hangs in `sys.stdout` (a full pipe, a stopped terminal) would make Python abort when the program ends.
"""

from __future__ import annotations

import io
import sys

from stpr.runtime.contract.errors import StprError


def standard_output() -> io.FileIO:
    """Standard output; closing it leaves it open. Raises StprError when it was closed by who started the program."""
    if sys.stdout is None:
        raise StprError("standard output is closed; leave it open, or write to a file.")
    return io.FileIO(sys.stdout.fileno(), "wb", closefd=False)


def write_whole(file: io.FileIO, content: bytes) -> None:
    """Write all of it: a single write may take less, as when a disk is nearly full."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]
