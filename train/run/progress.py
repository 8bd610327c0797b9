"""Show a run's progress on the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from stpr.train.learning.fit import Terms
from stpr.train.run.metrics import Metrics, scored_on

TOLD_EVERY: Final = 30.0  # seconds between lines about encoding, the longest wait, if there is no terminal


class Progress(Protocol):
    """Receives the progress of a run."""

    def encoding(self, what: str, done: int, total: int) -> None:
        """`done` of `total` clips are decoded and encoded."""

    def epoch(self, stage: int, number: int, total: int, terms: Terms) -> None:
        """An epoch of a stage ended with these mean loss terms."""

    def tested(self, metrics: Metrics) -> None:
        """A stage was trained and tested, with these metrics."""

    def note(self, sentence: str) -> None:
        """A sentence for the user."""


class ShownProgress:
    """Progress bars on a terminal; elsewhere one plain line per stage and per pass over clips.

    Names are printed literally, without rich markup. `quiet` prints nothing (all but one of several processes).
    Encoding shows clips per second and the time left; `clock` returns seconds.
    """

    def __init__(self, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = Console(stderr=True, highlight=False, markup=False, emoji=False, quiet=quiet)
        self.bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
        )
        self.task = self.bars.add_task("", total=None, note="", visible=False)
        self.shows = ""
        self.clock = clock
        self.began = self.last_line = 0.0  # start of the current pass over clips, and time of its last plain line
        self.first = 0  # clips done when it began

    def __enter__(self) -> ShownProgress:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        self.bars.stop()

    def generating(self, done: int, total: int) -> None:
        """The motions set is being generated."""
        self._advance("motions: writing videos", done, total)

    def encoding(self, what: str, done: int, total: int) -> None:
        """Clips are being decoded and encoded."""
        named = f"{what}: encoding clips"
        if named != self.shows:
            self.began, self.first = self.clock(), done
            self.last_line = self.began
        now = self.clock()
        pace = (done - self.first) / (now - self.began) if now > self.began else 0.0
        left = timedelta(seconds=round((total - done) / pace)) if pace else None
        note = "" if left is None else f"{pace:.{1 + (pace < 1)}f} a second, {left} left"
        self._advance(named, done, total, note=note)
        if pace and not self.console.is_terminal and now - self.last_line >= TOLD_EVERY:
            self.last_line = now
            self._print(f"{named}: {done} of {total}, {note}")

    def epoch(self, stage: int, number: int, total: int, terms: Terms) -> None:
        """An epoch of a stage ended."""
        note = "  ".join(f"{name} {value:.3g}" for name, value in terms.items())
        self._advance(f"stage {stage}: learning, epochs", number, total, note=note)

    def tested(self, metrics: Metrics) -> None:
        """A stage was trained and tested."""
        self._print(f"stage {len(metrics.stages)}: {metrics.final:.1%} on {scored_on(metrics)} seen so far")

    def note(self, sentence: str) -> None:
        """Print a sentence for the user."""
        self._print(sentence)

    def _print(self, line: str) -> None:
        """Print a line as one, however narrow the terminal is."""
        self.console.print(line, soft_wrap=True)

    def _advance(self, what: str, done: int, total: int, *, note: str = "") -> None:
        if what != self.shows:
            self.shows = what
            self.bars.reset(self.task, total=total, description=what, visible=True)
            if not self.console.is_terminal:
                self._print(f"{what}: {total}")
        self.bars.update(self.task, completed=done, note=note)
