"""Room for a few things between a thread that captures and one that reads, and never for old ones."""

from __future__ import annotations

import threading
import time
from collections import deque
from types import TracebackType
from typing import Final, Generic, TypeVar

from stpr.runtime.sources.frame import WhenBehind

PATIENCE: Final = 0.4  # seconds that a thing may wait: networks that send in bursts are silent for about as long
ROOM, ROOM_BYTES = 32, 64 << 20  # things that may wait, and bytes of them

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """What waits is read in order while its reader keeps up; one that has fallen behind gets the newest alone.

    As a context manager it belongs to the capturing thread: whatever ends that thread is raised by the next `take`.
    """

    def __init__(self, when_behind: WhenBehind = WhenBehind.DROP_OLDEST) -> None:
        self.dropped = 0
        self._when_behind = when_behind
        self._waiting: deque[tuple[float, Item]] = deque()  # with the times at which they came
        self._error: BaseException | None = None
        self._closed = False
        # Reentrant by default, so that a signal handler may call `close` whatever it interrupted.
        self._changed = threading.Condition()

    def put(self, item: Item, size: int = 0) -> None:
        """Leave an item of so many bytes; where there is no room, the oldest goes, or this call waits."""
        room = max(1, min(ROOM, ROOM_BYTES // max(1, size)))
        with self._changed:
            if self._when_behind is WhenBehind.WAIT:
                self._changed.wait_for(lambda: not self._waiting or self._closed)
            if self._closed:
                return
            self._waiting.append((time.monotonic(), item))
            self._keep(room)
            self._changed.notify_all()

    def take(self, seconds: float | None = None) -> Item | None:
        """Wait for an item; None once closed, or after so many seconds. Raises what ended the capturing thread."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed, seconds)
            if not self._waiting:
                if self._error is not None:
                    raise self._error
                return None
            if self._when_behind is WhenBehind.DROP_OLDEST and time.monotonic() - self._waiting[0][0] > PATIENCE:
                self._keep(1)
            item = self._waiting.popleft()[1]
            self._changed.notify_all()
            return item

    def arrives_within(self, seconds: float | None) -> bool:
        """Wait for the first item, without taking it; tells whether there is one."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed, seconds)
            return bool(self._waiting)

    def close(self) -> None:
        """Wake both sides and let them end; what was not taken is forgotten."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def closed_within(self, seconds: float) -> bool:
        """Sleep, unless and until the mailbox is closed; tells whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed, seconds)

    def __enter__(self) -> Mailbox[Item]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        with self._changed:
            self._error = error
            self._closed = True
            self._changed.notify_all()
        return True

    def _keep(self, newest: int) -> None:
        while len(self._waiting) > newest:
            self._waiting.popleft()
            self.dropped += 1
