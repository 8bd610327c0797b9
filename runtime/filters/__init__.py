"""Filters process results between the decision and the sinks.

To add one: a file with a class that is called with a result and returns one, and an entry in FILTERS. Each camera has
its own filters, which run in the order of FILTERS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias, runtime_checkable

from stpr.runtime.contract.manifest import Manifest
from stpr.runtime.filters.events import Events
from stpr.runtime.filters.latest import Latest
from stpr.runtime.filters.truth import Truth
from stpr.runtime.filters.watchdog import Watchdog
from stpr.runtime.result import Result
from stpr.runtime.settings import Settings

Filter: TypeAlias = Callable[[Result], Result]


@runtime_checkable
class Follower(Protocol):
    """A filter that depends on the bundle and is notified when another one takes over."""

    def follow(self, manifest: Manifest) -> None:
        """Later results are from this bundle; ongoing events continue."""


FILTERS: Mapping[str, Callable[[Settings, Manifest], Filter]] = {
    "watchdog": lambda _, manifest: Watchdog(manifest),  # first, so that rejected results cause no events
    "events": lambda settings, manifest: Events(manifest, settings.events),
    "truth": lambda _, manifest: Truth(manifest),
    "latest": lambda *_: Latest(),  # last, so that it holds the predictions after the other filters
}


def open_filters(settings: Settings, manifest: Manifest) -> list[Filter]:
    """Create all filters for one camera with the model of this manifest."""
    return [open_filter(settings, manifest) for open_filter in FILTERS.values()]
