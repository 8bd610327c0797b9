"""Read a recording from a network in a separate thread, so that a slow server does not delay a stop."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, nullcontext

from stpr.runtime.sources.files import RecordedSource
from stpr.runtime.sources.frame import Frame, WhenBehind
from stpr.runtime.sources.live import JOIN_SECONDS
from stpr.runtime.sources.mailbox import Mailbox
from stpr.runtime.sources.relay import Relay


class Fetched:
    """All frames of a recorded source; the next one is fetched while the consumer is busy."""

    dropped = 0
    reconnects = 0
    skipped = 0

    def __init__(self, recorded: RecordedSource, relay: Relay | None = None) -> None:
        """`relay`: by which the source is read; closed at its end."""
        self.origin = recorded.origin
        self._recorded, self._relay = recorded, relay
        self._mailbox: Mailbox[Frame] = Mailbox(WhenBehind.WAIT)
        self._thread = threading.Thread(target=self._read, name=f"fetch {self.origin.name}", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames in order; re-raises errors of the reading thread."""
        while (frame := self._mailbox.take()) is not None:
            yield frame

    def stop(self) -> None:
        """End the iteration; may be called from any thread or signal handler."""
        self._recorded.stop()
        self._mailbox.close()

    def close(self) -> None:
        """Stop, and wait briefly for the thread to release the connection."""
        self.stop()
        self._thread.join(JOIN_SECONDS)

    def _read(self) -> None:
        with self._mailbox, nullcontext() if self._relay is None else closing(self._relay):
            for frame in self._recorded:
                self._mailbox.put(frame)
