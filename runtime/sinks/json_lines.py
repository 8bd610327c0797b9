"""`--json`: one line per prediction, there to be read the moment it is made."""

from __future__ import annotations

import sys

import msgspec

from stpr.runtime.contract.errors import StprError
from stpr.runtime.recognizer import Result


class JsonLines:
    """Appends to a file, or writes to standard output for `-`."""

    def __init__(self, target: str) -> None:
        """Raises StprError when the file can't be opened."""
        self._target = target
        self._encoder = msgspec.json.Encoder()
        try:
            # Unbuffered: a line that was written is a line that a reader sees, and a crash loses none.
            self._file = sys.stdout.buffer if target == "-" else open(target, "ab", buffering=0)  # noqa: SIM115, PTH123
        except OSError as error:
            raise StprError(f"can't write predictions to {target} ({error.strerror}); choose another file.") from error

    def write(self, result: Result) -> None:
        """One line for a new prediction, nothing between slots."""
        if result.prediction is None:
            return
        try:
            self._file.write(self._encoder.encode(result.prediction) + b"\n")
            self._file.flush()
        except BrokenPipeError:
            raise  # the reader of the pipe has seen enough: click ends the command quietly
        except OSError as error:
            raise StprError(
                f"can't write predictions to {self._target} ({error.strerror}); make room there."
            ) from error

    def close(self) -> None:
        """Close the file; standard output stays open."""
        if self._target != "-":
            self._file.close()
