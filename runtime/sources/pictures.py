"""Pictures that come as bytes, by a connection or a pipe: the newest is decoded, the others are passed over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException
from typing import NamedTuple

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.sources.capture import Shot
from stpr.runtime.sources.clock import Pace
from stpr.runtime.sources.mailbox import Mailbox


class Arrived(NamedTuple):
    """A picture as it came, and when it was seen (monotonic)."""

    picture: bytes
    seen_at: float


class PictureCapture:
    """Pictures read as they come: nothing grows old in a socket."""

    def __init__(
        self,
        pictures: Iterator[bytes],
        decode: Callable[[bytes], Image | None],
        done: Callable[[], None],
        *,
        stall_seconds: float | None,
    ) -> None:
        """`pictures` waits for each and ends with the connection; `done` is called where nothing more is read.

        `decode` makes RGB of one, or None of what is damaged. Where none comes for `stall_seconds` the capture is lost;
        None: never.
        """
        self.skipped = 0
        self._decode = decode
        self._stall_seconds = stall_seconds
        self._mailbox: Mailbox[Arrived] = Mailbox()
        self._thread = threading.Thread(target=self._receive, args=(pictures, done), name="pictures", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Pictures that nobody had time to decode."""
        return self._mailbox.dropped

    def begins(self) -> bool:
        """Wait for the first picture; tells whether there is one."""
        return self._mailbox.arrives_within(self._stall_seconds)

    def read(self) -> Shot | None:
        """The next picture in RGB, or None at the end; raises SourceError where none comes in time."""
        while (arrived := self._mailbox.take(self._stall_seconds)) is not None:
            if (image := self._decode(arrived.picture)) is not None:
                return Shot(image, None, arrived.seen_at)
            self.skipped += 1
        if self._stall_seconds is not None and not self._mailbox.closed_within(0):
            raise stalled(self._stall_seconds)
        return None

    def close(self) -> None:
        """Let the thread give the connection back, when its read returns: a connection that is read can't be closed."""
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
    """Why a connection is given up that is there and gives nothing."""
    return SourceError(f"no frame came for {seconds:g} s", code="timeout")
