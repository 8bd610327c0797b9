"""Where results go."""

from __future__ import annotations

from typing import Protocol

from stpr.runtime.recognizer import Result


class Sink(Protocol):
    """Takes every result of a run, on the run's own thread."""

    def write(self, result: Result) -> None:
        """Take one result; raises StprError when it can't be kept."""

    def close(self) -> None:
        """Finish what was begun."""
