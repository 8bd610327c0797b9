"""Log outages of a source: that it is waited for, when it is lost, why it can't be reconnected, when it is back.

The rate is limited, so that a camera that is unstable, or away for days, does not fill the disk with logs: a few lines
at once, then one per minute.
"""

from __future__ import annotations

import logging
import math
import time

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.log import LINE_SECONDS, Allowance

log = logging.getLogger(__name__)


class Outage:
    """The outages of one source."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._since: float | None = None  # monotonic; None while it is connected
        self._code: str | None = None  # of the last logged reason
        self._allowance = Allowance()  # limit for all lines about the source
        self._said_at = -math.inf

    def awaits(self, seconds: float) -> None:
        """Log that it has not answered for so long, unless something was said about it within the last minute."""
        self._since = self._since or time.monotonic() - seconds
        if time.monotonic() - self._said_at > LINE_SECONDS:
            self._say(f"waiting for {self._name}, which has not answered within {seconds:.0f} s.")

    def begins(self, reason: SourceError | None = None) -> None:
        """Log that it is lost."""
        self._since, self._code = time.monotonic(), None
        why = f": {reason.message.rstrip('.')}" if reason is not None else ""
        self._say(f"{self._name} gives no frames{why}; reconnecting until it does.")

    def goes_on(self, reason: SourceError) -> None:
        """Log a failed reconnect, if the reason has changed, and once a minute."""
        self._since = self._since or time.monotonic()
        if reason.code != self._code or time.monotonic() - self._said_at > LINE_SECONDS:
            self._code = reason.code
            self._say(f"still without {self._name} after {time.monotonic() - self._since:.0f} s: {reason.message}")

    def ends(self) -> None:
        """Log that it is back."""
        if self._since is not None:
            self._say(f"{self._name} is back after {time.monotonic() - self._since:.1f} s.")
        self._since = self._code = None

    def _say(self, words: str) -> None:
        if (left_out := self._allowance.take()) is None:
            return
        self._said_at = time.monotonic()
        log.warning("%s%s", words, f" ({left_out} lines like it were left out)" if left_out else "")
