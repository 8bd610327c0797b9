"""`--json`: a line per prediction and per event, there to be read the moment it is made."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import msgspec

from stpr.runtime.contract.errors import StprError
from stpr.runtime.result import Result
from stpr.runtime.settings import Settings
from stpr.runtime.sinks.raw_file import standard_output, write_whole

LONGEST: Final = 1 << 20  # bytes of a line; ours are far shorter


class JsonLines:
    """Appends to a file, or writes to standard output for `-`."""

    every_frame = False

    def __init__(self, target: str) -> None:
        """Raises StprError when the file can't be opened, or holds something else than JSON lines."""
        self._target = target
        self._encoder = msgspec.json.Encoder()
        try:
            self._file = standard_output() if target == "-" else _open_to_append(Path(target))
        except OSError as error:
            raise StprError(f"can't write predictions to {target} ({error.strerror}); choose another file.") from error

    def write(self, result: Result) -> None:
        """One line for a new prediction, and one for each event."""
        lines: list[object] = [] if result.prediction is None else [result.prediction.line()]
        try:
            for line in (*lines, *result.events):
                write_whole(self._file, self._encoder.encode(line) + b"\n")
        except BrokenPipeError:
            raise  # the reader of the pipe has seen enough
        except OSError as error:
            raise StprError(
                f"can't write predictions to {self._target} ({error.strerror}); make room there."
            ) from error

    def close(self) -> None:
        """Close the file; standard output stays open."""
        self._file.close()


def _open_to_append(path: Path) -> io.FileIO:
    begun = _is_within_a_line(path) if path.is_file() and path.stat().st_size else False
    file = io.FileIO(path, "ab")
    if begun:
        write_whole(file, b"\n")
    return file


def _is_within_a_line(path: Path) -> bool:
    """Whether a file of JSON lines ends in the middle of one, as after a power cut. Raises StprError for any other."""
    with path.open("rb") as file:
        first = file.readline(LONGEST)
        file.seek(-1, io.SEEK_END)
        last = file.read()
    try:
        msgspec.json.decode(first, type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        first = b""
    if not first.endswith(b"\n"):
        raise StprError(
            f"{path} is there and holds no JSON lines, so predictions can't be added to it; name another file."
        )
    return last != b"\n"


def open_json_lines(settings: Settings) -> JsonLines | None:
    """What `--json` asks for."""
    return None if settings.json is None else JsonLines(settings.json)
