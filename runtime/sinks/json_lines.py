"""`--json`: write a JSON line per prediction and event, readable immediately."""

from __future__ import annotations

import io
import logging
import os
import stat
from pathlib import Path
from typing import Final

import msgspec

from stpr.runtime.contract.errors import StprError
from stpr.runtime.result import Result
from stpr.runtime.settings import Settings
from stpr.runtime.sinks.raw_file import standard_output, write_whole

LONGEST: Final = 1 << 20  # bytes of a line; our lines are far shorter
STARTS: Final = (b'{"time":"', b'{"event":"')  # the beginnings of our lines

log = logging.getLogger(__name__)


class JsonLines:
    """Appends to a file, or writes to standard output for `-`. A renamed or removed file is created again."""

    every_frame = False

    def __init__(self, target: str) -> None:
        """Raises StprError if the file can't be opened, or does not contain JSON lines."""
        self._target = target
        self._encoder = msgspec.json.Encoder()
        self._file = self._open()

    def write(self, result: Result) -> None:
        """One line for a new prediction, and one for each event."""
        lines: list[object] = [] if result.prediction is None else [result.prediction.line()]
        if self._has_moved():
            self._file.close()
            self._file = self._open()
        try:
            for line in (*lines, *result.events):
                write_whole(self._file, self._encoder.encode(line) + b"\n")
        except BrokenPipeError:
            raise  # the reader of the pipe has closed it
        except OSError as error:
            raise StprError(f"can't write predictions to {self._target} ({error.strerror}); free space.") from error

    def close(self) -> None:
        """Close the file; standard output stays open."""
        self._file.close()

    def _open(self) -> io.FileIO:
        try:
            return standard_output() if self._target == "-" else _open_to_append(Path(self._target))
        except OSError as error:
            raise StprError(
                f"can't write predictions to {self._target} ({error.strerror}); choose another file."
            ) from error

    def _has_moved(self) -> bool:
        """Whether the path now refers to another file, as after logrotate, or to none."""
        ours = os.fstat(self._file.fileno())
        if self._target == "-" or not stat.S_ISREG(ours.st_mode):
            return False
        try:
            return not os.path.samestat(ours, Path(self._target).stat())
        except OSError:
            return True


def _open_to_append(path: Path) -> io.FileIO:
    """Open the file for the next line. Raises StprError if it does not contain JSON lines."""
    if path.is_file() and path.stat().st_size:
        _mend(path)
    return io.FileIO(path, "ab")


def _mend(path: Path) -> None:
    """Remove an incomplete last line, left by a power cut, a kill or a full disk."""
    with path.open("r+b") as file:
        first = file.readline(LONGEST)
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - LONGEST))
        tail = file.read()
        torn = tail[tail.rfind(b"\n") + 1 :]
        # An incomplete first line is recognised by its beginning.
        ours = any(start.startswith(first[: len(start)]) for start in STARTS) and not _is_line(first)
        if not (ours if len(torn) == size else first.endswith(b"\n") and _is_line(first) and len(torn) < LONGEST):
            raise StprError(
                f"{path} exists and does not contain JSON lines, so predictions can't be appended; name another file."
            )
        if _is_line(torn):
            file.write(b"\n")
        elif torn:
            file.truncate(size - len(torn))
            log.warning(
                "%s ended in an incomplete line, as after a power cut; its %d bytes were removed.", path, len(torn)
            )


def _is_line(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return True


def open_json_lines(settings: Settings) -> JsonLines | None:
    """Open the sink if `--json` is set."""
    return None if settings.json is None else JsonLines(settings.json)
