"""Read several sources at once, each in its own thread, and process the available frames together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Final

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.sources.frame import Frame, Source

ENDED: Final = None

log = logging.getLogger(__name__)


class Cameras:
    """Yields rounds: the next frame of every source that has one, by the source's index.

    A source waits while its frame is not taken, and stays near real time as it does alone. If one fails, this is
    logged, and the others continue.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._next: dict[int, Frame | None] = {}
        self._running = set(range(len(sources)))
        self._broken: list[BaseException] = []
        self._closed = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._read, args=(number,), name=f"read {source.origin.name}", daemon=True)
            for number, source in enumerate(sources)
        ]
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> Iterator[dict[int, Frame | None]]:
        """Yield rounds until all sources have ended; None instead of a frame marks the end of a source.

        Finally raises the error of a failed source, unless `stop` was called.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._next or not self._running or self._closed)
                if self._closed or not (self._next or self._running):
                    break
                taken, self._next = self._next, {}
                self._changed.notify_all()
            yield taken
        if self._broken and not self._closed:
            raise self._broken[0]

    def stop(self) -> None:
        """End the iteration; may be called from any thread or signal handler."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for source in self._sources:
            source.stop()

    def _read(self, number: int) -> None:
        source = self._sources[number]
        try:
            for frame in source:
                if not self._put(number, frame):
                    break
        except SourceError as error:
            self._broken.append(error)
            log.error("%s has ended, the others continue: %s", source.origin.name, error.message)
        except BaseException as error:
            self._broken.append(error)
            log.exception("%s has ended, the others continue.", source.origin.name)
        finally:
            self._put(number, ENDED)
            with self._changed:
                self._running.discard(number)
                self._changed.notify_all()

    def _put(self, number: int, frame: Frame | None) -> bool:
        """Offer a frame and wait until it is taken, so that at most one frame per source is buffered.

        Returns False after `stop`.
        """
        with self._changed:
            if not self._closed:
                self._next[number] = frame
                self._changed.notify_all()
            self._changed.wait_for(lambda: number not in self._next or self._closed)
            return not self._closed
