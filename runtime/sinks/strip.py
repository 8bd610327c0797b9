"""Draw the events of the last half minute as a strip: time runs to the right, the right edge is now.

An event is a bar in its stage's colour, from its first moment to its last; an ongoing one extends to the right edge.
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
MOST: Final = 256  # bars; far more than events in half a minute, a bound in case a clock jumps
HEIGHT: Final = 56  # units
TEXT, NAME_ROWS, ROW_HEIGHT, GAP = 9.5, 2, 13, 7
BAR, BAR_TOP = 9, 31
TICK_TEXT, TICK_LINE = 8, 50
SHORTEST_BAR: Final = 3.0  # units
LEFT_TO_OTHERS: Final = 64.0  # units
SHORTEST_NAME: Final = 24.0  # units; bars with less space have no name


@dataclass(slots=True)
class _Bar:
    start: float
    end: float | None  # None: ongoing
    label: str
    stage: int
    row: int  # of its name; fixed, so that names don't jump


class Strip:
    """The events of the last half minute of one source, as bars; bounded memory for any length of stream."""

    def __init__(self) -> None:
        self._bars: deque[_Bar] = deque(maxlen=MOST)
        self._now = 0.0
        self._tells_events = False

    def see(self, result: Result) -> None:
        """Add a result; results must come in order, but some may be missing."""
        now = result.frame.captured_at
        if now < self._now:  # the clock changed
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
        """Whether to show the strip; not for a bundle without events."""
        return self._tells_events

    def draw(self, card: Canvas, width: float) -> None:
        """Draw on a card of this width and of HEIGHT."""
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
        """Draw names over their bars, in one row, without overlap."""
        begins: list[float] = []
        for bar in bars:
            # The newest names are moved to the left until they fit, but leave some space to the previous one.
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
        """The x position of a moment; None is now."""
        ago = 0.0 if moment is None else self._now - moment
        return max(0.0, width * (1 - ago / SECONDS))

    def _take(self, event: Event, result: Result) -> None:
        """A start opens a bar; an end closes it, or creates a whole bar if the start was missed."""
        open_bar = self._bars[-1] if self._bars and self._bars[-1].end is None else None
        if isinstance(event, Start):
            start = _captured(result, event.media_time, event.time)
            if open_bar is not None:  # its end was missed
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
    """A capture time on the clock of the result's frame."""
    if media_time is not None:
        return media_time
    assert result.latest is not None  # events come from predictions
    ago = datetime.fromisoformat(result.latest.time) - datetime.fromisoformat(time)
    return result.frame.captured_at - ago.total_seconds()
