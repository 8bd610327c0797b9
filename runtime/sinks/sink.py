"""The interface of sinks, and a wrapper that keeps a failing sink from ending the run."""

from __future__ import annotations

import logging
from typing import Protocol

import msgspec

from stpr.runtime.contract.errors import StprError
from stpr.runtime.result import Result

log = logging.getLogger(__name__)


class MissedError(StprError):
    """A sink could not process this result, but may process the next."""


class Counts(msgspec.Struct, frozen=True):
    """Numbers of results that a sink wrote, dropped because it was too slow, and failed to write."""

    written: int
    dropped: int
    failed: int

    @property
    def missed(self) -> int:
        """Dropped and failed results."""
        return self.dropped + self.failed


class StopRun(Exception):  # noqa: N818  (a wish of the user's, no error)
    """Raised by a sink's `write` when the user has ended the run there."""


class Sink(Protocol):
    """Receives results one by one; `write` and `close` are called in the same thread."""

    @property
    def every_frame(self) -> bool:
        """Whether it receives every result, or only those with a new prediction."""

    def write(self, result: Result) -> None:
        """Write one result.

        Raises MissedError if this one can't be written, any other StprError if the sink has failed for good, and
        BrokenPipeError if its reader has gone.
        """

    def close(self) -> None:
        """Finish and close."""


class Guarded:
    """A sink whose first error is logged, once; after that its missed results are counted.

    After a MissedError the sink continues. StopRun and BrokenPipeError end the run; they are not errors.
    """

    def __init__(self, name: str, sink: Sink) -> None:
        self.name = name
        self.broken = False
        self._sink = sink
        self._written = self._failed = 0

    @property
    def every_frame(self) -> bool:
        """Whether it receives every result, or only those with a new prediction."""
        return self._sink.every_frame

    @property
    def counts(self) -> Counts:
        """Counts of the results so far."""
        return Counts(self._written, 0, self._failed)

    def write(self, result: Result) -> None:
        """Pass a result on, unless the sink is broken."""
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
        """Close the sink, even if it is broken."""
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
        # Unexpected errors are bugs, so their traceback is logged.
        fault, bug = (error.message, None) if isinstance(error, StprError) else (f"{error!r}", error)
        log.error("%s stopped, recognition continues: %s", self.name, fault, exc_info=bug)
