"""A recording behind a network: read on a thread of its own, so that a read that waits for a server holds no stop."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from stpr.runtime.sources.files import RecordedSource
from stpr.runtime.sources.frame import Frame, WhenBehind
from stpr.runtime.sources.live import JOIN_SECONDS
from stpr.runtime.sources.mailbox import Mailbox


class Fetched:
    """Every frame of a recorded source; the next one is fetched while its reader is busy."""

    dropped = 0
    reconnects = 0
    skipped = 0

    def __init__(self, recorded: RecordedSource) -> None:
        self.origin = recorded.origin
        self._recorded = recorded
        self._mailbox: Mailbox[Frame] = Mailbox(WhenBehind.WAIT)
        self._thread = threading.Thread(target=self._read, name=f"fetch {self.origin.name}", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Frame]:
        """The frames in order; raises what broke the reading."""
        while (frame := self._mailbox.take()) is not None:
            yield frame

    def stop(self) -> None:
        """End the iteration, from any thread or signal handler."""
        self._recorded.stop()
        self._mailbox.close()

    def close(self) -> None:
        """Stop, and wait a moment for the thread to give the connection back."""
        self.stop()
        self._thread.join(JOIN_SECONDS)

    def _read(self) -> None:
        with self._mailbox:
            for frame in self._recorded:
                self._mailbox.put(frame)
