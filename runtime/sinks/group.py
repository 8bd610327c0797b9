"""All sinks of a run as one: opened together, written to one after the other, closed whatever one of them raises."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Final

from stpr.runtime.contract.errors import StprError
from stpr.runtime.result import Result
from stpr.runtime.settings import Settings
from stpr.runtime.sinks.background import Background
from stpr.runtime.sinks.sink import Counts, Guarded, Sink

EVENTS_ALONE: Final = frozenset({"webhook"})  # predictions would drive its events out while a server is slow


class Sinks:
    """All sinks of a run as one."""

    def __init__(self, sinks: Sequence[Background]) -> None:
        self._sinks = sinks

    @property
    def missed(self) -> dict[str, int]:
        """How many results each sink missed, if any."""
        return {name: found.missed for name, found in self.counts.items() if found.missed}

    @property
    def counts(self) -> dict[str, Counts]:
        """What became of each sink's results so far, from any thread."""
        return {sink.name: sink.counts for sink in self._sinks}

    def __len__(self) -> int:
        return len(self._sinks)

    @property
    def broken(self) -> list[str]:
        """The sinks that stopped before the run did."""
        return [sink.name for sink in self._sinks if sink.broken]

    def write(self, result: Result) -> None:
        """Hand a result to each that wants it. Raises StprError when none is left to take it."""
        for sink in self._sinks:
            news = result.prediction is not None and sink.name not in EVENTS_ALONE
            if sink.every_frame or news or result.events:
                sink.write(result)
        if self._sinks and len(self.broken) == len(self._sinks):
            raise StprError(f"nothing takes the results any more: {', '.join(self.broken)} stopped, see above.")

    def stop(self) -> None:
        """The run is to end soon: wait for none of them. From any thread or signal handler."""
        for sink in self._sinks:
            sink.stop()

    def finish(self) -> None:
        """No result will follow: those in the background begin to finish, all at once. From any thread."""
        for sink in self._sinks:
            sink.finish()

    def close(self) -> None:
        """Close all of them, whatever one of them raises."""
        self.finish()
        with ExitStack() as closing:
            for sink in self._sinks:
                closing.callback(sink.close)


def open_all(openers: Mapping[str, Callable[[Settings], Sink | None]], settings: Settings) -> Sinks:
    """What the settings ask for. Raises StprError when one can't be opened, and leaves none open then."""
    opened: list[Background] = []
    with ExitStack() as failing:
        for name, open_sink in openers.items():
            if (sink := open_sink(settings)) is not None:
                opened.append(Background(Guarded(name, sink)))
                failing.callback(opened[-1].close)
        failing.pop_all()
    return Sinks(opened)
