"""All sinks of a run as a group: opened together, written to in turn, and closed even if one raises."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Final

from stpr.runtime.contract.errors import StprError
from stpr.runtime.result import Result
from stpr.runtime.settings import Settings
from stpr.runtime.sinks.background import Background
from stpr.runtime.sinks.sink import Counts, Guarded, Sink

EVENTS_ALONE: Final = frozenset({"webhook"})  # in its queue, predictions would displace events


class Sinks:
    """All sinks of a run as one."""

    def __init__(self, sinks: Sequence[Background]) -> None:
        self._sinks = sinks

    @property
    def missed(self) -> dict[str, int]:
        """Number of results that each sink missed, without zeros."""
        return {name: found.missed for name, found in self.counts.items() if found.missed}

    @property
    def counts(self) -> dict[str, Counts]:
        """Counts of each sink's results so far; may be called from any thread."""
        return {sink.name: sink.counts for sink in self._sinks}

    def __len__(self) -> int:
        return len(self._sinks)

    @property
    def broken(self) -> list[str]:
        """Names of the sinks that stopped early."""
        return [sink.name for sink in self._sinks if sink.broken]

    def write(self, result: Result) -> None:
        """Pass a result to each sink that wants it. Raises StprError if no working sink is left."""
        for sink in self._sinks:
            news = result.prediction is not None and sink.name not in EVENTS_ALONE
            if sink.every_frame or news or result.events:
                sink.write(result)
        if self._sinks and len(self.broken) == len(self._sinks):
            raise StprError(f"all outputs have stopped ({', '.join(self.broken)}), see above.")

    def stop(self) -> None:
        """The run ends soon: wait for no sink. May be called from any thread or signal handler."""
        for sink in self._sinks:
            sink.stop()

    def finish(self) -> None:
        """No result will follow: all sinks begin to finish at once. May be called from any thread."""
        for sink in self._sinks:
            sink.finish()

    def close(self) -> None:
        """Close all sinks, even if one raises."""
        self.finish()
        with ExitStack() as closing:
            for sink in self._sinks:
                closing.callback(sink.close)


def open_all(openers: Mapping[str, Callable[[Settings], Sink | None]], settings: Settings) -> Sinks:
    """Open the enabled sinks. Raises StprError if one fails, after closing the others."""
    opened: list[Background] = []
    with ExitStack() as failing:
        for name, open_sink in openers.items():
            if (sink := open_sink(settings)) is not None:
                opened.append(Background(Guarded(name, sink)))
                failing.callback(opened[-1].close)
        failing.pop_all()
    return Sinks(opened)
