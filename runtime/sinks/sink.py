"""Where results go: the seam, and a sink that may break without ending the run."""

from __future__ import annotations

import logging
from typing import Protocol

from stpr.runtime.contract.errors import StprError
from stpr.runtime.result import Result

log = logging.getLogger(__name__)


class StopRun(Exception):  # noqa: N818  (a wish of the user's, no error)
    """Raised by a sink's `write` when the user has asked it to end the run."""


class Sink(Protocol):
    """Takes results one by one; `write` and `close` are called on one and the same thread."""

    @property
    def every_frame(self) -> bool:
        """Whether it takes every result, or those with a new prediction alone."""

    def write(self, result: Result) -> None:
        """Take one result. Raises StprError when it can't be kept, BrokenPipeError when its reader has gone."""

    def close(self) -> None:
        """Finish what was begun."""


class Guarded:
    """A sink whose first error is told, once; from there on what it should have taken is counted.

    StopRun and BrokenPipeError end the run: they are no errors, somebody has seen enough.
    """

    def __init__(self, name: str, sink: Sink) -> None:
        self.name = name
        self.missed = 0  # results that it should have taken and did not
        self.broken = False
        self._sink = sink

    @property
    def every_frame(self) -> bool:
        """Whether it takes every result, or those with a new prediction alone."""
        return self._sink.every_frame

    def write(self, result: Result) -> None:
        """Hand a result on, unless the sink is broken."""
        if not self.broken:
            try:
                self._sink.write(result)
            except (StopRun, BrokenPipeError):
                raise
            except Exception as error:  # noqa: BLE001  (whatever breaks a sink, recognition goes on)
                self._break(error)
        self.missed += self.broken

    def stop(self) -> None:
        """Nothing to hurry: what was handed on was taken."""

    def finish(self) -> None:
        """Nothing to do before `close`."""

    def close(self) -> None:
        """Close the sink, the broken one too."""
        try:
            self._sink.close()
        except BrokenPipeError:
            pass
        except Exception as error:  # noqa: BLE001
            self._break(error)

    def _break(self, error: Exception) -> None:
        if self.broken:
            return
        self.broken = True
        # An error that is not ours to foresee is a bug: its traceback is wanted.
        fault, bug = (error.message, None) if isinstance(error, StprError) else (f"{error!r}", error)
        log.error("%s stopped, recognition goes on: %s", self.name, fault, exc_info=bug)
