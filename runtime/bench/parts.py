"""Measure the time per part (decoding, encoder, head, rest) of each step while a bundle runs.

decoding ─▶ all else: preprocessing, window, decision, filters
│ encoder: a call of its graph, for all cameras at once
└ head: likewise
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Final, TypeVar

from stpr.runtime.contract.bundle import Bundle
from stpr.runtime.contract.manifest import GraphName
from stpr.runtime.contract.preprocess import Array
from stpr.runtime.engines import open_graph
from stpr.runtime.engines.engine import Engine, EngineOptions
from stpr.runtime.model import Model

DECODING, ENCODER, HEAD, ELSE = "decoding", "encoder", "head", "all else"
PARTS: Final = (DECODING, ENCODER, HEAD, ELSE)

Item = TypeVar("Item")


class Parts:
    """The duration of every call in milliseconds, by part."""

    def __init__(self) -> None:
        self.calls: dict[str, list[float]] = {part: [] for part in PARTS}
        self._begun = 0.0
        self._before = {ENCODER: 0, HEAD: 0}  # number of calls of the graphs before this round

    def open_model(self, bundle: Bundle, engine: str, options: EngineOptions) -> Model:
        """Like `model.open_model`, with both graphs timed from the first frame on. Raises EngineError."""
        with ExitStack() as opened:
            engines: list[Engine] = []
            for name, part in ((GraphName.ENCODER, ENCODER), (GraphName.HEAD, HEAD)):
                engines.append(_Timed(open_graph(engine, bundle, name, options), self.calls[part]))
                opened.callback(engines[-1].close)
            model = Model(bundle, encoder=engines[0], head=engines[1])
            opened.pop_all()
        for calls in self.calls.values():  # drop the warm-up calls
            calls.clear()
        return model

    def decoded(self, frames: Iterable[Item]) -> Iterator[Item]:
        """Pass frames on, timing the wait for each."""
        coming = iter(frames)
        while True:
            begun = time.perf_counter()
            try:
                frame = next(coming)
            except StopIteration:
                return
            self.calls[DECODING].append(1000 * (time.perf_counter() - begun))
            yield frame

    def begin(self) -> None:
        """Start the clock of a round of frames."""
        self._begun, self._before = time.perf_counter(), {part: len(self.calls[part]) for part in self._before}

    def end(self) -> None:
        """End a round in which windows were classified."""
        took = 1000 * (time.perf_counter() - self._begun)
        self.calls[ELSE].append(took - sum(sum(self.calls[part][count:]) for part, count in self._before.items()))


class _Timed:
    """An engine that records the duration of its runs."""

    def __init__(self, engine: Engine, calls: list[float]) -> None:
        self._engine, self._calls = engine, calls

    @property
    def name(self) -> str:
        return self._engine.name

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        begun = time.perf_counter()
        found = self._engine.run(feeds)
        self._calls.append(1000 * (time.perf_counter() - begun))
        return found

    def close(self) -> None:
        self._engine.close()
