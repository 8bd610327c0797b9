"""Read secrets from files, since every process can read a command line."""

from __future__ import annotations

from pathlib import Path

from stpr.runtime.contract.errors import StprError
from stpr.runtime.contract.names import shown
from stpr.runtime.contract.small_file import read_small


def read_secret(path: Path, option: str, lines: int) -> list[str]:
    """Read a file of secrets. Raises StprError, without showing them, if the number of lines is wrong."""
    try:
        found = read_small(path).decode().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise StprError(f"can't read {option} {shown(path)} ({reason}); check its path and permissions.") from error
    found = [line.rstrip("\r") for line in found]
    if found[-1] == "":
        found.pop()
    if len(found) != lines or not found[0]:
        words = "one line" if lines == 1 else f"{lines} lines"
        raise StprError(f"{option} {shown(path)} holds {len(found)} lines; write {words} there.")
    return found
