"""A small buffer between a capturing and a consuming thread that discards old items."""

from __future__ import annotations

import threading
import time
from collections import deque
from types import TracebackType
from typing import Final, Generic, TypeVar

from stpr.runtime.sources.frame import WhenBehind

PATIENCE: Final = 0.4  # maximum age of an item in seconds, about the gaps of networks that send in bursts
ROOM, ROOM_BYTES = 32, 64 << 20  # capacity in items and bytes

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Items are read in order while the consumer keeps up; one that has fallen behind gets only the newest.

    The capturing thread uses it as a context manager: an exception that ends it is raised by the next `take`.
    """

    def __init__(self, when_behind: WhenBehind = WhenBehind.DROP_OLDEST) -> None:
        self.dropped = 0
        self._when_behind = when_behind
        self._waiting: deque[tuple[float, Item]] = deque()  # with arrival times
        self._error: BaseException | None = None
        self._closed = False
        # Its lock is reentrant by default, so that a signal handler may call `close` at any point.
        self._changed = threading.Condition()

    def put(self, item: Item, size: int = 0) -> None:
        """Add an item of `size` bytes; if full, the oldest is discarded, or this call waits."""
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
        """Wait for an item; None if closed, or after `seconds`. Raises what ended the capturing thread."""
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
        """Wait for the first item, without taking it; returns whether there is one."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed, seconds)
            return bool(self._waiting)

    def close(self) -> None:
        """Wake both sides and discard the remaining items."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def closed_within(self, seconds: float) -> bool:
        """Sleep until the mailbox is closed or time is up; returns whether it is closed."""
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
