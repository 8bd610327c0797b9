"""What becomes of a result between the decision and the sinks.

A new filter is a file with a class that is called with a result and returns one, and a line in FILTERS. Each camera has
its own, and they run in this order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias, runtime_checkable

from stpr.runtime.contract.manifest import Manifest
from stpr.runtime.filters.events import Events
from stpr.runtime.filters.latest import Latest
from stpr.runtime.filters.watchdog import Watchdog
from stpr.runtime.result import Result
from stpr.runtime.settings import Settings

Filter: TypeAlias = Callable[[Result], Result]


@runtime_checkable
class Follower(Protocol):
    """A filter that knows the bundle: it is told when another one takes over between two frames."""

    def follow(self, manifest: Manifest) -> None:
        """What comes from now on is of this bundle; what goes on, goes on."""


FILTERS: Mapping[str, Callable[[Settings, Manifest], Filter]] = {
    "watchdog": lambda _, manifest: Watchdog(manifest),  # the first: what it takes away is no event
    "events": lambda settings, manifest: Events(manifest, settings.events),
    "latest": lambda *_: Latest(),  # stays the last: it holds what the others made of a prediction
}


def open_filters(settings: Settings, manifest: Manifest) -> list[Filter]:
    """One of each, for one camera under the model of that manifest."""
    return [open_filter(settings, manifest) for open_filter in FILTERS.values()]
