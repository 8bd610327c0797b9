"""A word now and then about a source that is away: when it goes, why it does not come, when it is back.

A camera that comes and goes all the time, or is away for days, fills no disk: a few lines at once, then one a minute.
"""

from __future__ import annotations

import logging
import time

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.log import LINE_SECONDS, Allowance

log = logging.getLogger(__name__)


class Outage:
    """What is said of one source."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._since: float | None = None  # monotonic; None while it is there
        self._code: str | None = None  # of the reason that was said last
        self._allowance = Allowance()  # for all that is said of it
        self._said_at = 0.0

    def begins(self, reason: SourceError | None = None) -> None:
        """It is lost."""
        self._since, self._code = time.monotonic(), None
        why = f": {reason.message.rstrip('.')}" if reason is not None else ""
        self._say(f"{self._name} gives no frames{why}; reconnecting until it does.")

    def goes_on(self, reason: SourceError) -> None:
        """It does not come back, or not yet; said where the reason is another one, and once a minute."""
        self._since = self._since or time.monotonic()
        if reason.code != self._code or time.monotonic() - self._said_at > LINE_SECONDS:
            self._code = reason.code
            self._say(f"still without {self._name} after {time.monotonic() - self._since:.0f} s: {reason.message}")

    def ends(self) -> None:
        """It is there."""
        if self._since is not None:
            self._say(f"{self._name} is back after {time.monotonic() - self._since:.1f} s.")
        self._since = self._code = None

    def _say(self, words: str) -> None:
        if (left_out := self._allowance.take()) is None:
            return
        self._said_at = time.monotonic()
        log.warning("%s%s", words, f" ({left_out} lines like it were left out)" if left_out else "")
