"""Several sources at once: each is read by a thread of its own, and whatever has come is handled together."""

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
    """Rounds of frames: the next frame of every source that has one, by the source's number.

    A source waits while its frame is not taken, and keeps near the present as it does alone. One that breaks is said,
    and the others go on.
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
        """Rounds, until all sources have ended: None in the place of a frame says that one has.

        Raises what broke one of them then, unless they were told to end.
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
        """End the iteration, from any thread or signal handler."""
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
            log.error("%s has ended, the others go on: %s", source.origin.name, error.message)
        except BaseException as error:
            self._broken.append(error)
            log.exception("%s has ended, the others go on.", source.origin.name)
        finally:
            self._put(number, ENDED)
            with self._changed:
                self._running.discard(number)
                self._changed.notify_all()

    def _put(self, number: int, frame: Frame | None) -> bool:
        """Leave this until it is taken, so that no more than one of a source's frames grows old here.

        False where nothing is taken any more.
        """
        with self._changed:
            if not self._closed:
                self._next[number] = frame
                self._changed.notify_all()
            self._changed.wait_for(lambda: number not in self._next or self._closed)
            return not self._closed
