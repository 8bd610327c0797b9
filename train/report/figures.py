"""The figures of a report, one function each: metrics in, a matplotlib figure out. No pyplot, so no global state.

Colours are safe for colour-blind readers: Okabe-Ito for lines, one light-to-dark ramp for tables. Names of classes,
runs and rows go through `letters`, because matplotlib would read text between two dollar signs as TeX.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from stpr.train.report.letters import drawn, length, short, style
from stpr.train.run.metrics import UNKNOWN, Metrics

Table: TypeAlias = npt.NDArray[np.float64]

INK: Final = "#222222"
FAINT: Final = "#d9d9d9"
LINES: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKS: Final = "osD^vPX"
RAMP: Final = "Blues"
MOST_NUMBERED: Final = 30  # largest table whose cells hold legible numbers
MOST_LISTED: Final = 12  # most stages that a legend lists one by one
LETTER: Final = 0.0085  # width of a narrow letter, in inches per point of font size
MOST_NAMED: Final = 110  # most classes whose names fit on an axis


def accuracy_figure(metrics: Metrics, others: Mapping[str, Metrics]) -> Figure:
    """Left: accuracy on all classes seen so far, other runs dashed. Right: accuracy on each stage's classes."""
    figure = blank_figure(11.0, 4.4)
    left, right = figure.subplots(1, 2)
    _draw_seen(left, metrics, others)
    _draw_stages(right, metrics)
    return figure


def forgetting_figure(metrics: Metrics) -> Figure:
    """Accuracy per stage after each stage: a column fades below the diagonal as its stage is forgotten."""
    size = len(metrics.accuracy)
    table = np.full((size, size), np.nan)
    for row, values in enumerate(metrics.accuracy):
        table[row, : row + 1] = _numbers(values)
    unknown = np.isnan(table) & np.tri(size, dtype=bool)
    figure, axes = _table_figure(table, cell=_cell(size), bar="accuracy", unknown=unknown)
    axes.set_title("Accuracy on each stage's test clips" + (" (%)" if size <= MOST_NUMBERED else ""))
    axes.set_xlabel("test clips of stage")
    axes.set_ylabel("after learning stage")
    _number_ticks(axes, size, size)
    return figure


def confusion_figure(metrics: Metrics) -> Figure:
    """Predicted against true class after the last stage, as shares of the true class; lines separate the stages."""
    counts = np.asarray(metrics.confusion, dtype=np.float64)
    clips = counts.sum(axis=1, keepdims=True)
    table = np.divide(counts, clips, out=np.full_like(counts, np.nan), where=clips > 0)
    count = len(metrics.classes)
    size = 8.0 if count <= MOST_NUMBERED else 6.0
    names, look = [short(drawn(name)) for name in metrics.classes], style(*metrics.classes)
    figure, axes = _table_figure(
        table, cell=0.34 if count <= MOST_NUMBERED else 0.14, bar="share of the true class", zeros=False,
        unknown=np.isnan(table),
    )  # fmt: skip
    for edge in np.cumsum([len(stage) for stage in metrics.stages])[:-1] - 0.5:
        axes.axhline(edge, color=INK, linewidth=0.5)
        axes.axvline(edge, color=INK, linewidth=0.5)
    axes.set_title(f"Confusion after stage {len(metrics.stages)}" + (" (%)" if count <= MOST_NUMBERED else ""))
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if count <= MOST_NAMED:
        room = LETTER * size * max(map(length, names))  # extra space for the class names
        figure.set_size_inches(*(min(20.0, side + room) for side in figure.get_size_inches()))
        axes.set_xticks(range(count), names, rotation=90, fontsize=size, **look)
        axes.set_yticks(range(count), names, fontsize=size, **look)
    else:
        _number_ticks(axes, count, count)
    return figure


def routing_figure(metrics: Metrics) -> Figure:
    """Mean routing weight of each stage's clips on each expert: correct routing shows as a dark diagonal."""
    width = max(len(row) for row in metrics.routing if row is not None)
    table = np.asarray([row or [np.nan] * width for row in metrics.routing], dtype=np.float64)
    figure, axes = _table_figure(
        table, cell=_cell(max(table.shape)), bar="mean routing weight", unknown=np.isnan(table)
    )
    axes.set_title("Routing weights of each stage's test clips" + (" (%)" if max(table.shape) <= MOST_NUMBERED else ""))
    axes.set_xlabel("expert of stage")
    axes.set_ylabel("test clips of stage")
    _number_ticks(axes, *table.shape)
    return figure


def losses_figure(metrics: Metrics) -> Figure:
    """Each loss term over the epochs of all stages; grey lines separate the stages."""
    terms = list(dict.fromkeys(term for epochs in metrics.curves for epoch in epochs for term in epoch))
    columns = min(3, len(terms))
    rows = math.ceil(len(terms) / columns)
    figure = blank_figure(max(5.5, 3.9 * columns), 3.0 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True).flat
    for panel, term in itertools.zip_longest(panels, terms):
        if term is None:
            panel.remove()
        else:
            _draw_term(panel, metrics.curves, term)
    return figure


def _draw_seen(axes: Axes, metrics: Metrics, others: Mapping[str, Metrics]) -> None:
    lines = axes.plot(_steps(metrics.seen), metrics.seen, color=LINES[0], marker="o", linewidth=2.2, zorder=3)
    for other, colour, mark in zip(others.values(), itertools.cycle(LINES[1:]), itertools.cycle(MARKS[1:])):
        lines += axes.plot(_steps(other.seen), other.seen, "--", color=colour, marker=mark, markersize=4)
    last = len(metrics.seen)
    axes.annotate(
        f"{100 * metrics.final:.1f} %", (last, metrics.final), (0, 8), textcoords="offset points",
        ha="center", color=LINES[0], fontweight="bold",
    )  # fmt: skip
    title = "All classes seen so far" + (", as far as tested" if metrics.untested_classes else "")
    finish_accuracy(axes, title, max([last, *(len(other.seen) for other in others.values())]))
    if others:
        legend = axes.legend(
            lines, [drawn(name) for name in (metrics.method, *others)], loc="lower left", edgecolor="white"
        )
        for text in legend.get_texts():
            text.set(**style(*others))


def _draw_stages(axes: Axes, metrics: Metrics) -> None:
    count = len(metrics.accuracy)
    ramp = _ramp(count)
    for stage in range(count):
        kept = _numbers([row[stage] for row in metrics.accuracy[stage:]])
        steps = range(stage + 1, count + 1)
        mark = MARKS[stage % len(MARKS)] if count <= MOST_LISTED else None
        name = f"stage {stage + 1}"
        axes.plot(steps, kept, color=ramp[stage], marker=mark, markersize=4, linewidth=1.4, label=name)
    finish_accuracy(axes, "Each stage's classes, from when they were learnt", count)
    if count <= MOST_LISTED:
        axes.legend(loc="lower left", ncols=2 if count > 5 else 1, edgecolor="white")
    else:
        axes.text(0.02, 0.03, f"stage 1 (light) to {count} (dark)", transform=axes.transAxes, color=INK)


def _ramp(count: int) -> list[tuple[float, ...]]:
    """Colours from light to dark, without the lightest ones, which are invisible on white."""
    low, high = np.asarray(to_rgba("#8fd0f5")), np.asarray(to_rgba("#08205c"))
    return [tuple(low + (high - low) * part) for part in np.linspace(0, 1, count)]


def finish_accuracy(axes: Axes, title: str, steps: int) -> None:
    """Axes of accuracy over stages: title, labels, ranges."""
    axes.set_title(title)
    axes.set_xlabel("stages learnt")
    axes.set_ylabel("accuracy")
    axes.set_xlim(0.7, steps + 0.3)
    axes.set_ylim(0, 1.06)
    axes.set_xticks(range(1, steps + 1, math.ceil(steps / 13)))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    tidy(axes)


def _draw_term(axes: Axes, curves: Sequence[Sequence[Mapping[str, float]]], term: str) -> None:
    values = [epoch.get(term, math.nan) for epochs in curves for epoch in epochs]
    start = 0
    for stage, epochs in enumerate(curves, start=1):
        if start:
            axes.axvline(start + 0.5, color=FAINT, linewidth=1, zorder=0)
        line = [epoch.get(term, math.nan) for epoch in epochs]
        axes.plot(range(start + 1, start + 1 + len(line)), line, color=LINES[0], linewidth=1.5)
        if len(curves) <= MOST_LISTED:
            axes.text(start + 0.5 + len(line) / 2, 1.01, str(stage), transform=axes.get_xaxis_transform(),
                      ha="center", va="bottom", fontsize=8, color="#777777")  # fmt: skip
        start += len(line)
    known = [value for value in values if math.isfinite(value)]
    if known and min(known) > 0 and max(known) > 50 * min(known):
        axes.set_yscale("log")
    axes.set_title(term, pad=18)
    axes.set_xlabel("epoch (stages above)" if len(curves) <= MOST_LISTED else "epoch")
    axes.set_xlim(0.5, start + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    tidy(axes)


def _numbers(shares: Sequence[float | None]) -> list[float]:
    """Replace None by NaN, which matplotlib does not draw."""
    return [math.nan if share is None else share for share in shares]


def _cell(count: int) -> float:
    return 0.55 if count <= MOST_LISTED else 0.4 if count <= MOST_NUMBERED else 0.2


def _table_figure(
    table: Table, *, cell: float, bar: str, unknown: npt.NDArray[np.bool_], zeros: bool = True
) -> tuple[Figure, Axes]:
    """A heat map of shares (NaN where absent), with numbers in per cent if they are legible.

    `unknown` shares are drawn as a dash. The colour scale is 0..1, extended if values exceed it, as raw routing
    cosines may.
    """
    rows, columns = table.shape
    width, height = max(2.8, cell * columns), max(2.8, cell * rows)
    figure = blank_figure(min(20.0, width + 2.2), min(20.0, height + 1.2))
    axes = figure.subplots()
    low, high = min(0.0, float(np.nanmin(table))), max(1.0, float(np.nanmax(table)))
    picture = axes.imshow(table, cmap=RAMP, vmin=low, vmax=high, interpolation="nearest")
    strip = axes.inset_axes((1 + 0.15 / width, 0, 0.18 / width, 1))
    figure.colorbar(picture, cax=strip, format=PercentFormatter(1.0, decimals=0)).outline.set_visible(False)
    strip.set_ylabel(bar)
    if max(rows, columns) <= MOST_NUMBERED:
        for (row, column), value in np.ndenumerate(table):
            if not math.isnan(value) and (zeros or value > 0):
                colour = "white" if value > low + 0.6 * (high - low) else INK
                text = f"{100 * value:.0f}"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9 if cell > 0.5 else 7)
        for row, column in np.argwhere(unknown):
            axes.text(column, row, UNKNOWN, ha="center", va="center", color="#777777")
    for edge in axes.spines.values():
        edge.set_visible(False)
    axes.tick_params(length=0)
    return figure, axes


def _number_ticks(axes: Axes, rows: int, columns: int) -> None:
    for axis, count in ((axes.yaxis, rows), (axes.xaxis, columns)):
        places = range(0, count, max(1, math.ceil(count / 26)))
        axis.set_ticks(list(places), [str(place + 1) for place in places])


def _steps(values: Sequence[float]) -> range:
    return range(1, len(values) + 1)


def blank_figure(width: float, height: float) -> Figure:
    """An empty figure; sizes in inches."""
    return Figure(figsize=(width, height), dpi=130, layout="constrained", facecolor="white")


def tidy(axes: Axes) -> None:
    """Hide the top and right spines, and draw faint horizontal grid lines."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#888888")
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
