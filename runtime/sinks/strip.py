"""The events of the last half minute as a strip: time runs to the right, its right edge is now.

A bar in its stage's colour lies where a class was recognised, from the event's first moment to its last; one that goes
on grows with the edge. Where nothing is known to happen the strip is empty.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from stpr.runtime.canvas import GREY, TRACK, WHITE, Canvas, plain, stage_colour
from stpr.runtime.events import Event, Start
from stpr.runtime.result import Result

SECONDS: Final = 30.0
TICK_SECONDS: Final = 10
MOST: Final = 256  # bars: events are further apart than that for any clip, this bounds what a broken clock could do
HEIGHT: Final = 56  # units
TEXT, NAME_ROWS, ROW_HEIGHT, GAP = 9.5, 2, 13, 7
BAR, BAR_TOP = 9, 31
TICK_TEXT, TICK_LINE = 8, 50
SHORTEST_BAR: Final = 3.0  # units
LEFT_TO_OTHERS: Final = 64.0  # units
SHORTEST_NAME: Final = 24.0  # units: with less room a bar has no name


@dataclass(slots=True)
class _Bar:
    start: float
    end: float | None  # None: it goes on
    label: str
    stage: int
    row: int  # of its name: its own for good, so that no name jumps


class Strip:
    """What a sink has seen of its source's events: bars of the last half minute, however long the stream."""

    def __init__(self) -> None:
        self._bars: deque[_Bar] = deque(maxlen=MOST)
        self._now = 0.0
        self._tells_events = False

    def see(self, result: Result) -> None:
        """Take in what a result says; every result, in order, though some may be missing."""
        now = result.frame.captured_at
        if now < self._now:  # another clock
            self._bars.clear()
        self._now = now
        judged = result.latest is not None and result.latest.evidence is not None
        self._tells_events = self._tells_events or judged or bool(result.events)
        for event in result.events:
            self._take(event, result)
        while self._bars and self._bars[0].end is not None and self._bars[0].end < now - SECONDS:
            self._bars.popleft()

    @property
    def tells_events(self) -> bool:
        """Whether there is anything to show: a bundle without events has no strip."""
        return self._tells_events

    def draw(self, card: Canvas, width: float) -> None:
        """Draw it over a card of that width and of HEIGHT."""
        scale = width / SECONDS
        card.box(0, BAR_TOP, width, BAR, TRACK)
        for ago in range(0, round(SECONDS), TICK_SECONDS):
            at = width - ago * scale
            card.box(at, BAR_TOP, 1 / card.unit, BAR, GREY)
            words = f"-{ago} s" if ago else "now"
            card.text_right(words, (at, TICK_LINE), size=TICK_TEXT, colour=GREY)
        for bar in self._bars:
            left, right = (self._at(moment, width) for moment in (bar.start, bar.end))
            card.box(
                min(left, width - SHORTEST_BAR), BAR_TOP, max(SHORTEST_BAR, right - left), BAR, stage_colour(bar.stage)
            )
        for row in range(NAME_ROWS):
            self._draw_names(card, width, [bar for bar in self._bars if bar.row == row])

    def _draw_names(self, card: Canvas, width: float, bars: Sequence[_Bar]) -> None:
        """Names over their bars, all in one row: a name ends before the next begins."""
        begins: list[float] = []
        for bar in bars:
            # The newest names are moved to the left until they fit, but leave some room to the one before.
            fits = width - card.measure(plain(bar.label), TEXT)
            free = begins[-1] + LEFT_TO_OTHERS if begins else 0.0
            begins.append(min(self._at(bar.start, width), max(fits, free)))
        ends = [*(begin - GAP for begin in begins), width][1:] if bars else []
        for bar, begin, end in zip(bars, begins, ends, strict=True):
            if (room := end - begin) >= SHORTEST_NAME:
                at = (begin, BAR_TOP - 6 - bar.row * ROW_HEIGHT)
                name = card.cut(plain(bar.label), TEXT, room)
                card.text(name, at, size=TEXT, colour=WHITE if bar.end is None else GREY)

    def _at(self, moment: float | None, width: float) -> float:
        """Where a moment lies, from the left; None is now."""
        ago = 0.0 if moment is None else self._now - moment
        return max(0.0, width * (1 - ago / SECONDS))

    def _take(self, event: Event, result: Result) -> None:
        """A start opens a bar; an end closes it, or stands for all of it where its start went missing."""
        open_bar = self._bars[-1] if self._bars and self._bars[-1].end is None else None
        if isinstance(event, Start):
            start = _captured(result, event.media_time, event.time)
            if open_bar is not None:  # its end went missing
                open_bar.end = start
            self._open(event, start)
            return
        bar = open_bar or self._open(event, _captured(result, event.start_media_time, event.start_time))
        bar.end = _captured(result, event.media_time, event.time)

    def _open(self, event: Event, start: float) -> _Bar:
        row = (self._bars[-1].row + 1) % NAME_ROWS if self._bars else 0
        self._bars.append(_Bar(start, None, event.label, event.stage, row))
        return self._bars[-1]


def _captured(result: Result, media_time: float | None, time: str) -> float:
    """When something was captured, on the clock of the result's frame."""
    if media_time is not None:
        return media_time
    assert result.latest is not None  # events are made of predictions
    ago = datetime.fromisoformat(result.latest.time) - datetime.fromisoformat(time)
    return result.frame.captured_at - ago.total_seconds()
