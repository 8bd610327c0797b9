"""Captures of pictures that arrive as bytes, by connection or pipe: only the newest is decoded."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException
from typing import Final, NamedTuple

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.log import Overdue
from stpr.runtime.sources.capture import Shot
from stpr.runtime.sources.clock import Pace
from stpr.runtime.sources.mailbox import Mailbox

SILENT_SECONDS: Final = 1.0  # after which silence is looked at
SILENT: Final = "standard input has given no picture for %.0f s; waiting for it."

log = logging.getLogger(__name__)


class Arrived(NamedTuple):
    """An encoded picture, and its capture time (monotonic)."""

    picture: bytes
    seen_at: float


class PictureCapture:
    """Reads pictures as they arrive, so that none waits in a socket."""

    def __init__(
        self,
        pictures: Iterator[bytes],
        decode: Callable[[bytes], Image | None],
        done: Callable[[], None],
        *,
        stall_seconds: float | None,
    ) -> None:
        """`pictures` blocks for each and ends with the connection; `done` is called when reading has ended.

        `decode` returns RGB, or None for a damaged picture. The capture is lost if none comes for `stall_seconds`;
        None: never, as standard input can't be opened again; its silence is logged.
        """
        self.skipped = 0
        self._decode = decode
        self._stall_seconds = stall_seconds
        self._mailbox: Mailbox[Arrived] = Mailbox()
        self._thread = threading.Thread(target=self._receive, args=(pictures, done), name="pictures", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Number of pictures that were not decoded because newer ones had arrived."""
        return self._mailbox.dropped

    def begins(self) -> bool:
        """Wait for the first picture; returns whether there is one."""
        return self._mailbox.arrives_within(self._stall_seconds)

    def read(self) -> Shot | None:
        """The next picture in RGB, or None at the end; raises SourceError if none comes in time, or none is whole."""
        skipped, begun = self.skipped, time.monotonic()
        while (arrived := self._take()) is not None:
            if (image := self._decode(arrived.picture)) is not None:
                return Shot(image, None, arrived.seen_at)
            self.skipped += 1
            if self._stall_seconds is not None and time.monotonic() - begun >= self._stall_seconds:
                raise SourceError(
                    f"none of the last {self.skipped - skipped} pictures can be decoded: they are damaged, truncated or"
                    " too large",
                    code="codec",
                )
        if self._stall_seconds is not None and not self._mailbox.closed_within(0):
            raise stalled(self._stall_seconds)
        return None

    def _take(self) -> Arrived | None:
        if self._stall_seconds is not None:
            return self._mailbox.take(self._stall_seconds)
        arrived = self._mailbox.take(SILENT_SECONDS)
        if arrived is None and not self._mailbox.closed_within(0):
            with Overdue(lambda seconds: log.warning(SILENT, SILENT_SECONDS + seconds)):
                arrived = self._mailbox.take()
        return arrived

    def close(self) -> None:
        """Let the thread release the connection after its current read, since it can't be closed while being read."""
        self._mailbox.close()

    def _receive(self, pictures: Iterator[bytes], done: Callable[[], None]) -> None:
        pace = Pace()
        with self._mailbox:
            try:
                for picture in pictures:
                    self._mailbox.put(Arrived(picture, pace.seen_at(time.monotonic())), len(picture))
                    if self._mailbox.closed_within(0):
                        return
            except (OSError, HTTPException):
                return  # the connection broke
            finally:
                done()


def stalled(seconds: float) -> SourceError:
    """The error of a connection that delivers no frames."""
    return SourceError(f"no frame came for {seconds:g} s", code="timeout")
