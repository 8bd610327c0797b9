"""Wait for a source that is not up yet: retry until it opens, logging the reasons."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.log import Overdue
from stpr.runtime.sources.frame import Frame, Origin, Source
from stpr.runtime.sources.live import FIRST_PAUSE, pause_after
from stpr.runtime.sources.outage import Outage


class Waiting:
    """A source that is opened on iteration, in the iterating thread."""

    def __init__(self, name: str, open_it: Callable[[], Source], *, first_pause: float = FIRST_PAUSE) -> None:
        """`open_it` may raise SourceError; errors with a code are temporary and retried."""
        self.origin = Origin(name, is_live=True)
        self._open, self._first_pause = open_it, first_pause
        self._outage = Outage(name)
        self._opened: Source | None = None
        self._stopped = threading.Event()

    @property
    def dropped(self) -> int:
        """See `Source`."""
        return 0 if self._opened is None else self._opened.dropped

    @property
    def reconnects(self) -> int:
        """See `Source`."""
        return 0 if self._opened is None else self._opened.reconnects

    @property
    def skipped(self) -> int:
        """See `Source`."""
        return 0 if self._opened is None else self._opened.skipped

    def __iter__(self) -> Iterator[Frame]:
        """Yield the source's frames once it is open; raises SourceError if waiting can't help."""
        pause = self._first_pause
        while self._opened is None:
            try:
                with Overdue(self._outage.awaits):
                    self._opened = self._open()
            except SourceError as error:
                if not error.code:
                    raise
                self._outage.goes_on(error)
                pause = pause_after(error, pause)
                if self._stopped.wait(pause):
                    return
        self._outage.ends()
        if self._stopped.is_set():
            self._opened.stop()
        yield from self._opened

    def stop(self) -> None:
        """End the iteration; may be called from any thread or signal handler."""
        self._stopped.set()
        if self._opened is not None:
            self._opened.stop()

    def close(self) -> None:
        """Stop, and close the source."""
        self.stop()
        if self._opened is not None:
            self._opened.close()
