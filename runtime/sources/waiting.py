"""A source that is not up yet: asked for again and again until it is, with the reason said."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.sources.frame import Frame, Origin, Source
from stpr.runtime.sources.live import FIRST_PAUSE, pause_after
from stpr.runtime.sources.outage import Outage


class Waiting:
    """A source that is opened when its frames are asked for, by the thread that asks."""

    def __init__(self, name: str, open_it: Callable[[], Source], *, first_pause: float = FIRST_PAUSE) -> None:
        """`open_it` raises SourceError; one that has a code may not be raised some day, and is waited for."""
        self.origin = Origin(name, is_live=True)
        self._open, self._first_pause = open_it, first_pause
        self._outage = Outage(name)
        self._opened: Source | None = None
        self._stopped = threading.Event()

    @property
    def dropped(self) -> int:
        """As of the source."""
        return 0 if self._opened is None else self._opened.dropped

    @property
    def reconnects(self) -> int:
        """As of the source."""
        return 0 if self._opened is None else self._opened.reconnects

    @property
    def skipped(self) -> int:
        """As of the source."""
        return 0 if self._opened is None else self._opened.skipped

    def __iter__(self) -> Iterator[Frame]:
        """The frames of the source, once it is there; raises SourceError where waiting is of no use."""
        pause = self._first_pause
        while self._opened is None:
            try:
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
        """End the iteration, from any thread or signal handler."""
        self._stopped.set()
        if self._opened is not None:
            self._opened.stop()

    def close(self) -> None:
        """Stop, and give back what was opened."""
        self.stop()
        if self._opened is not None:
            self._opened.close()
