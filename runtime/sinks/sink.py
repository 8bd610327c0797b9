"""Where results go: the seam, and a sink that may break without ending the run."""

from __future__ import annotations

import logging
from typing import Protocol

import msgspec

from stpr.runtime.contract.errors import StprError
from stpr.runtime.result import Result

log = logging.getLogger(__name__)


class MissedError(StprError):
    """A sink could not take this result; it may well take the next."""


class Counts(msgspec.Struct, frozen=True):
    """How many results a sink took, how many came too fast for it, and how many it could not take."""

    written: int
    dropped: int
    failed: int

    @property
    def missed(self) -> int:
        """Those that it should have taken and did not."""
        return self.dropped + self.failed


class StopRun(Exception):  # noqa: N818  (a wish of the user's, no error)
    """Raised by a sink's `write` when the user has asked it to end the run."""


class Sink(Protocol):
    """Takes results one by one; `write` and `close` are called on one and the same thread."""

    @property
    def every_frame(self) -> bool:
        """Whether it takes every result, or those with a new prediction alone."""

    def write(self, result: Result) -> None:
        """Take one result.

        Raises MissedError when this one can't be kept, any other StprError when none can from now on, and
        BrokenPipeError when the sink's reader has gone.
        """

    def close(self) -> None:
        """Finish what was begun."""


class Guarded:
    """A sink whose first error is told, once; from there on what it should have taken is counted.

    After a MissedError the sink goes on. StopRun and BrokenPipeError end the run: they are no errors, somebody has
    seen enough.
    """

    def __init__(self, name: str, sink: Sink) -> None:
        self.name = name
        self.broken = False
        self._sink = sink
        self._written = self._failed = 0

    @property
    def every_frame(self) -> bool:
        """Whether it takes every result, or those with a new prediction alone."""
        return self._sink.every_frame

    @property
    def counts(self) -> Counts:
        """What became of the results so far."""
        return Counts(self._written, 0, self._failed)

    def write(self, result: Result) -> None:
        """Hand a result on, unless the sink is broken."""
        try:
            if not self.broken:
                self._sink.write(result)
                self._written += 1
                return
        except (StopRun, BrokenPipeError):
            raise
        except MissedError as error:
            log.warning("%s: %s", self.name, error.message)
        except Exception as error:  # noqa: BLE001  (whatever breaks a sink, recognition goes on)
            self._break(error)
        self._failed += 1

    def close(self) -> None:
        """Close the sink, the broken one too."""
        try:
            self._sink.close()
        except BrokenPipeError:
            pass
        except MissedError as error:  # nothing will follow that may be taken again
            self.broken = True
            log.error("%s: %s", self.name, error.message)
        except Exception as error:  # noqa: BLE001
            self._break(error)

    def _break(self, error: Exception) -> None:
        if self.broken:
            return
        self.broken = True
        # An error that is not ours to foresee is a bug: its traceback is wanted.
        fault, bug = (error.message, None) if isinstance(error, StprError) else (f"{error!r}", error)
        log.error("%s stopped, recognition goes on: %s", self.name, fault, exc_info=bug)
