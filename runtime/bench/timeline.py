"""Draw the timeline of an untrimmed video: actions above, detected events below, half a minute per row.

    names of actions, on as many lines as needed
    ███ found  ▒▒▒ missed                 actions
     ██ right  ██ false ─|               events: where the action was seen whole, and the time of the report
    names of events

An action or event that continues in the next row is named in the first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from stpr.runtime.canvas import Canvas, Colour, plain, shelves
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.untrimmed import Action, DetectedEvent, Stream, match

ROW_SECONDS: Final = 30.0
MOST_ROWS: Final = 120  # an hour: many viewers can't open much higher pictures
WIDTH, LEFT, RIGHT_EDGE = 1600, 92, 24
PLOT: Final = WIDTH - LEFT - RIGHT_EDGE
TICK_SECONDS: Final = 5
HEAD, ROW_GAP, FOOT = 92, 34, 16
KEY, KEY_LINE = 12, 62
NAME, NAME_LINE, NAME_ROOM, NAME_GAP = 11.5, 20, 360, 10
BAR, BETWEEN = 20, 8
SHORTEST_BAR: Final = 3.0
PAPER, INK, SOFT, FAINT = (255, 255, 255), (30, 34, 42), (112, 119, 130), (226, 229, 234)
RIGHT, WRONG, MISSED, NOT_LEARNT = (38, 152, 92), (212, 60, 52), (172, 178, 188), (196, 176, 226)


class _Bar(NamedTuple):
    start: float
    end: float
    name: str
    colour: Colour
    reported: float | None = None  # when an event was reported
    about: Action | None = None  # the action that an event matches


@dataclass(frozen=True, slots=True)
class _Row:
    """Half a minute from `begin` on, with its bars."""

    begin: float
    happened: Sequence[_Bar]
    reported: Sequence[_Bar]

    @property
    def above(self) -> float:
        return NAME_LINE * self._shelves(self.happened)

    @property
    def height(self) -> float:
        return self.above + 2 * BAR + BETWEEN + NAME_LINE * self._shelves(self.reported) + ROW_GAP

    def x(self, moment: float) -> float:
        return LEFT + PLOT * min(1.0, max(0.0, (moment - self.begin) / ROW_SECONDS))

    def names(self, bars: Sequence[_Bar]) -> list[tuple[_Bar, float, int]]:
        """The bars named in this row, with x position and line of each name."""
        own = [bar for bar in bars if bar.start >= self.begin]
        pen = Canvas(np.empty((1, 1, 3), np.uint8))
        lengths = [min(NAME_ROOM, pen.measure(bar.name, NAME)) for bar in own]
        begins = [min(self.x(bar.start), WIDTH - RIGHT_EDGE - length) for bar, length in zip(own, lengths, strict=True)]
        found = sorted(zip(begins, lengths, own, strict=True), key=lambda name: name[0])
        places = shelves([(begin, begin + length) for begin, length, _ in found], gap=NAME_GAP)
        return [(bar, begin, shelf) for (begin, _, bar), shelf in zip(found, places, strict=True)]

    def _shelves(self, bars: Sequence[_Bar]) -> int:
        return max((shelf + 1 for _, _, shelf in self.names(bars)), default=0)


def draw_timeline(stream: Stream, *, title: str, tolerance: float, not_learnt: Mapping[str, int]) -> Image:
    """An RGB picture of a stream, 1600 pixels wide; at most its first hour, which the title then says."""
    taken = match(stream.actions, stream.events, tolerance=tolerance)
    rows = _rows(_happened(stream.actions, taken, not_learnt), _reported(stream.events, taken), stream.seconds)
    picture = np.full((round(HEAD + sum(row.height for row in rows) + FOOT), WIDTH, 3), PAPER, np.uint8)
    right = sum(action is not None for action in taken)
    shown = min(stream.seconds, ROW_SECONDS * MOST_ROWS)
    whole = f"{_clock(stream.seconds)} long"
    length = whole if shown == stream.seconds else f"the first {_clock(shown)} of {_clock(stream.seconds)}"
    canvas = Canvas(picture)
    canvas.text(title, (LEFT, 34), size=18, colour=INK, room=PLOT)
    summary = f"{len(stream.actions)} actions, {len(stream.events)} events, {right} of them right"
    summary += f"; {length}, a line every {TICK_SECONDS} s"
    canvas.text(summary, (LEFT, KEY_LINE), size=KEY, colour=SOFT)
    _draw_key(canvas, with_not_learnt=any(action.label in not_learnt for action in stream.actions))
    top = float(HEAD)
    for row in rows:
        _draw_row(replace(canvas, top=top), row, stream.seconds)
        top += row.height
    return picture


def _happened(actions: Sequence[Action], taken: Sequence[Action | None], not_learnt: Mapping[str, int]) -> list[_Bar]:
    recognised = {id(action) for action in taken if action is not None}

    def colour(action: Action) -> Colour:
        if action.label in not_learnt:
            return NOT_LEARNT
        return RIGHT if id(action) in recognised else MISSED

    return [_Bar(action.start, action.end, plain(action.label), colour(action)) for action in actions]


def _reported(events: Sequence[DetectedEvent], taken: Sequence[Action | None]) -> list[_Bar]:
    return [
        _Bar(
            *(event.whole or (event.start, event.reported if event.end is None else event.end)),
            plain(event.label),
            WRONG if action is None else RIGHT,
            event.reported,
            action,
        )
        for event, action in zip(events, taken, strict=True)
    ]


def _rows(happened: Sequence[_Bar], reported: Sequence[_Bar], seconds: float) -> list[_Row]:
    count = min(MOST_ROWS, max(1, math.ceil(seconds / ROW_SECONDS)))
    begins = [index * ROW_SECONDS for index in range(count)]

    def within(bars: Sequence[_Bar], begin: float) -> list[_Bar]:
        return [bar for bar in bars if bar.start < begin + ROW_SECONDS and max(bar.end, bar.reported or 0.0) > begin]

    return [_Row(begin, within(happened, begin), within(reported, begin)) for begin in begins]


def _draw_key(canvas: Canvas, *, with_not_learnt: bool) -> None:
    """Draw the legend, at the right of the second line."""
    key: list[tuple[str, Colour]] = [("found, right", RIGHT), ("missed", MISSED), ("false", WRONG)]
    key += [("not learnt", NOT_LEARNT)] if with_not_learnt else []
    caption = "when it was reported"
    x = WIDTH - RIGHT_EDGE - canvas.measure(caption, KEY)
    canvas.text(caption, (x, KEY_LINE), size=KEY, colour=SOFT)
    _draw_delay(canvas, x - 30, x - 10, KEY_LINE - 16, SOFT)
    for words, colour in reversed(key):
        x -= 54 + canvas.measure(words, KEY)
        canvas.text(words, (x, KEY_LINE), size=KEY, colour=SOFT)
        canvas.box(x - 22, KEY_LINE - 13, 14, 14, colour)


def _draw_row(canvas: Canvas, row: _Row, seconds: float) -> None:
    upper, lower = row.above, row.above + BAR + BETWEEN
    _draw_ticks(canvas, row, upper, seconds)
    canvas.text_right(_clock(row.begin), (LEFT - 12, upper - 8 if row.above else upper), size=12, colour=INK)
    canvas.text_right("truth", (LEFT - 12, upper + 15), size=10.5, colour=SOFT)
    canvas.text_right("events", (LEFT - 12, lower + 15), size=10.5, colour=SOFT)
    for bar in row.reported:
        _draw_bar(canvas, row, bar, lower)
        if bar.about is not None:  # a line to the action that it matches
            meant = min(max(bar.start, bar.about.start), bar.about.end)
            left, right = sorted((row.x(bar.start), row.x(meant)))
            canvas.box(left, lower - BETWEEN / 2, right - left, 1, RIGHT)
            canvas.box(row.x(meant), upper + BAR, 1, BETWEEN / 2, RIGHT)
            canvas.box(row.x(bar.start), lower - BETWEEN / 2, 1, BETWEEN / 2, RIGHT)
        if bar.reported is not None:  # up to the time of the report
            _draw_delay(canvas, row.x(bar.start), row.x(bar.reported), lower, bar.colour)
    for bar in row.happened:
        _draw_bar(canvas, row, bar, upper)
    names = [(bar, x, upper - 7 - shelf * NAME_LINE, INK) for bar, x, shelf in row.names(row.happened)]
    below = lower + BAR + 16
    names += [(bar, x, below + shelf * NAME_LINE, bar.colour) for bar, x, shelf in row.names(row.reported)]
    for _, x, y, _ in names:  # a thin line to the bar, since other names may be in between
        near, far = sorted((upper if y < upper else lower + BAR, y))
        if far - near > NAME_LINE:
            canvas.box(x, near, 1, far - near, FAINT)
    for bar, x, y, colour in names:
        canvas.box(x - 1, y - NAME - 2, min(NAME_ROOM, canvas.measure(bar.name, NAME)) + 2, NAME + 6, PAPER)
        canvas.text(bar.name, (x, y), size=NAME, colour=colour, room=NAME_ROOM)


def _draw_bar(canvas: Canvas, row: _Row, bar: _Bar, top: float) -> None:
    left, right = row.x(bar.start), row.x(bar.end)
    canvas.box(left, top, max(SHORTEST_BAR, right - left - 1), BAR, bar.colour)


def _draw_delay(canvas: Canvas, left: float, right: float, top: float, colour: Colour) -> None:
    canvas.box(left, top + BAR / 2, right - left, 2, colour)
    canvas.box(right, top + 3, 2, BAR - 5, colour)


def _draw_ticks(canvas: Canvas, row: _Row, upper: float, seconds: float) -> None:
    bottom = upper + 2 * BAR + BETWEEN
    last = row.x(seconds)
    canvas.box(LEFT, upper, last - LEFT, BAR, (246, 247, 249))
    canvas.box(LEFT, upper + BAR + BETWEEN, last - LEFT, BAR, (246, 247, 249))
    for tick in range(0, round(ROW_SECONDS) + 1, TICK_SECONDS):
        if (x := LEFT + PLOT * tick / ROW_SECONDS) <= last + 1:
            canvas.box(x, upper - 2, 1, bottom - upper + 4, FAINT)


def _clock(seconds: float) -> str:
    """Format as minutes and seconds, as a video player does."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
