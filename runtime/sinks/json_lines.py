"""`--json`: a line per prediction and per event, there to be read the moment it is made."""

from __future__ import annotations

import io

import msgspec

from stpr.runtime.contract.errors import StprError
from stpr.runtime.result import Result
from stpr.runtime.settings import Settings
from stpr.runtime.sinks.raw_file import standard_output, write_whole


class JsonLines:
    """Appends to a file, or writes to standard output for `-`."""

    every_frame = False

    def __init__(self, target: str) -> None:
        """Raises StprError when the file can't be opened."""
        self._target = target
        self._encoder = msgspec.json.Encoder()
        try:
            self._file = standard_output() if target == "-" else io.FileIO(target, "ab")
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


def open_json_lines(settings: Settings) -> JsonLines | None:
    """What `--json` asks for."""
    return None if settings.json is None else JsonLines(settings.json)
