"""The picture of an untrimmed video: what happened above, what was said below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stpr.runtime.untrimmed import Action, Heard, Stream, match
from stpr.train.report.figures import FAINT, INK, LINES, LITERAL, blank_figure

ROW_SECONDS: Final = 60.0  # of video in a row of the picture
MOST_ROWS: Final = 6
RIGHT, WRONG, MISSED = LINES[2], LINES[1], "#9a9a9a"
TRUTH, SAID = 0.62, 0.38  # the heights at which bars begin and events hang
BAR: Final = 0.2
NAME: Final[dict[str, Any]] = {"fontsize": 7, "clip_on": True, **LITERAL}
SHORTEST_NAMED: Final = 1.0  # seconds of an action that still holds its name


def timeline_figure(stream: Stream, *, title: str) -> Figure:
    """The first minutes of a stream, a minute a row: actions as bars (grey: missed), below them what was said when.

    An event is a mark where it starts; a line leads from the right ones to the action that they tell.
    """
    rows = min(MOST_ROWS, max(1, math.ceil(stream.seconds / ROW_SECONDS)))
    figure = blank_figure(14.0, 1.55 * rows + 0.7)
    taken = match(stream.actions, stream.events)
    told = {id(action) for action in taken if action is not None}
    panels = figure.subplots(rows, 1, squeeze=False)[:, 0]
    for row, axes in enumerate(panels):
        start = row * ROW_SECONDS
        _draw_actions(axes, [action for action in stream.actions if _overlaps(action, start)], told)
        for event, action in zip(stream.events, taken, strict=True):
            if start <= event.start < start + ROW_SECONDS:
                _draw_event(axes, event, action)
        _finish(axes, start)
    panels[-1].set_xlabel("seconds")
    shown = min(stream.seconds, rows * ROW_SECONDS)
    figure.suptitle(f"{title}: {shown:.0f} of {stream.seconds:.0f} s", color=INK, **LITERAL)
    return figure


def _overlaps(action: Action, start: float) -> bool:
    return action.start < start + ROW_SECONDS and action.end > start


def _draw_actions(axes: Axes, actions: Sequence[Action], told: set[int]) -> None:
    for action in actions:
        colour = RIGHT if id(action) in told else MISSED
        axes.broken_barh([(action.start, action.end - action.start)], (TRUTH, BAR), color=colour)
        if action.end - action.start >= SHORTEST_NAMED:
            middle = (action.start + action.end) / 2
            axes.text(middle, TRUTH + BAR + 0.03, action.label, rotation=18, color=INK, **NAME)


def _draw_event(axes: Axes, event: Heard, action: Action | None) -> None:
    colour = WRONG if action is None else RIGHT
    axes.plot([event.start], [SAID], marker="v" if action is None else "^", color=colour, markersize=6)
    axes.plot([event.start, event.said], [SAID, SAID], color=colour, linewidth=1)
    if action is None:
        axes.text(event.start, SAID - 0.12, event.label, rotation=-18, va="top", color=WRONG, **NAME)
    else:
        axes.plot([event.start, np.clip(event.start, *action[:2])], [SAID, TRUTH], color=colour, linewidth=0.8)


def _finish(axes: Axes, start: float) -> None:
    axes.set_xlim(start, start + ROW_SECONDS)
    axes.set_ylim(0, 1.35)
    axes.set_yticks([TRUTH + BAR / 2, SAID], ["truth", "said"])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#888888")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
