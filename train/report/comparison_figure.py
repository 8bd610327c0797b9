"""The figure of a comparison: accuracy over stages, one line per row, labelled at its end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stpr.train.report.figures import LINES, MARKS, blank_figure, finish_accuracy
from stpr.train.report.letters import drawn, style


@dataclass(frozen=True, slots=True)
class _End:
    """The last point of a row's line, and the line's style."""

    name: str
    step: int
    value: float
    line: Mapping[str, Any]


def comparison_figure(curves: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """Accuracy on all classes seen after each stage: a line per row, its mean over seeds in a band of ± std.

    `curves` has each row's runs, a list over stages per seed; all runs of a row have the same stages.
    """
    figure = blank_figure(9.5, max(5.4, 1.2 + 0.32 * len(curves)))
    axes = figure.subplots()
    slimmer = np.linspace(1.0, 0.5, len(curves))  # drawn over earlier lines: where two coincide, both show
    ends = [
        _draw_row(axes, place, name, runs, size=size)
        for place, (size, (name, runs)) in enumerate(zip(slimmer, curves.items(), strict=True))
    ]
    finish_accuracy(axes, "All classes seen so far", max(end.step for end in ends))
    axes.set_ylim(math.floor(10 * min(0.9, max(0.0, axes.dataLim.y0))) / 10, 1.02)
    axes.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))
    _name_ends(axes, sorted(ends, key=lambda end: end.value))
    return figure


def _draw_row(axes: Axes, place: int, name: str, runs: Sequence[Sequence[float]], *, size: float) -> _End:
    turn, table = place // len(LINES), np.asarray(runs, dtype=np.float64)
    mean, steps = table.mean(axis=0), range(1, table.shape[1] + 1)
    line: dict[str, Any] = {
        "color": LINES[place % len(LINES)],
        "linestyle": ("-", "--", ":")[turn % 3],
        "marker": MARKS[(place + 3 * turn) % len(MARKS)],
        "markersize": 7 * size,
    }
    axes.plot(steps, mean, linewidth=2.6 * size, **line)
    if len(runs) > 1:
        spread = table.std(axis=0, ddof=1)
        axes.fill_between(steps, mean - spread, mean + spread, color=line["color"], alpha=0.13, linewidth=0)
    return _End(name, len(mean), float(mean[-1]), line)


def _name_ends(axes: Axes, ends: Sequence[_End]) -> None:
    """Label each line with its name and last value, right of the axes and without overlap; `ends` must be sorted."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    beside = right + 0.06 * (right - left)
    places = _apart([end.value for end in ends], room=(top - bottom) / 22, top=top)
    for end, place in zip(ends, places, strict=True):
        axes.plot([end.step, beside], [end.value, place], linewidth=0.6, markevery=[1], clip_on=False, **end.line)
        text = f"{drawn(end.name)}  {100 * end.value:.1f}"
        look = {**style(end.name), "va": "center", "annotation_clip": False}
        axes.annotate(text, (beside, place), (8, 0), textcoords="offset points", **look)
    axes.set_xlim(right=right)
    axes.set_ylim(bottom, top)


def _apart(values: Sequence[float], *, room: float, top: float) -> list[float]:
    """Shift sorted `values` as little as possible so that they are at least `room` apart and none exceeds `top`."""
    places: list[float] = []
    for value in values:
        places.append(max(value, places[-1] + room) if places else value)
    for index in reversed(range(len(places))):
        places[index] = min(places[index], places[index + 1] - room if index + 1 < len(places) else top)
    return places
