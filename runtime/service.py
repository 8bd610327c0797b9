"""Notify systemd (`Type=notify`): ready, alive (watchdog), stopping; does nothing without NOTIFY_SOCKET.

A run counts as alive while it waits for a frame, however long, since a restart would not bring a camera back. It hangs
if a frame is not processed within the watchdog's time.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

SOCKET, INTERVAL, OWNER = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
Item = TypeVar("Item")
BEATS: Final = 3  # notifications per watchdog interval, so that one may be late


class Pulse:
    """Tracks how long the current frame has been in processing."""

    def __init__(self) -> None:
        self._since: float | None = None

    def through(self, frames: Iterable[Item]) -> Iterator[Item]:
        """Pass frames or rounds on; requesting the next one means that the previous is done."""
        for frame in frames:
            self._since = time.monotonic()
            yield frame
            self._since = None

    def hangs(self, seconds: float) -> bool:
        """Whether the current frame has been in processing for longer than `seconds`."""
        since = self._since
        return since is not None and time.monotonic() - since > seconds


@contextmanager
def under_systemd(status: str) -> Iterator[Pulse]:
    """Notify ready with `status` on entry, alive as long as the pulse does not hang, and stopping at the end."""
    pulse, ended = Pulse(), threading.Event()
    _say(f"READY=1\nSTATUS={status}")
    interval = _interval()
    beating = threading.Thread(target=_beat, args=(pulse, ended, interval or 1.0), name="watchdog", daemon=True)
    if interval is not None:
        beating.start()
    try:
        yield pulse
    finally:
        ended.set()
        _say("STOPPING=1")


def _beat(pulse: Pulse, ended: threading.Event, interval: float) -> None:
    while not pulse.hangs(interval):
        _say("WATCHDOG=1")
        if ended.wait(interval / BEATS):
            return


def _interval() -> float | None:
    """The watchdog interval in seconds; None if there is none for this process."""
    text, owner = os.environ.get(INTERVAL, ""), os.environ.get(OWNER)
    if not text.isdecimal() or int(text) == 0 or owner not in (None, str(os.getpid())):
        return None
    return int(text) / 1e6


def _say(words: str) -> None:
    address = os.environ.get(SOCKET, "")
    if not address.startswith(("/", "@")):
        return
    # A name that begins with @ is an abstract one: no file, and a zero byte in its place.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending, suppress(OSError):
        sending.sendto(words.encode(), f"\0{address[1:]}" if address.startswith("@") else address)
