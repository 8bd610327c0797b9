"""The figure of an audit: bytes stored and FLOPs per prediction after each stage, measured and projected."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from stpr.runtime.contract.durable import whole_file
from stpr.train.estimate.audit import Audit, StageAudit
from stpr.train.estimate.footprint import DEPENDS
from stpr.train.report.figures import INK, LINES, blank_figure, tidy
from stpr.train.run.folder import report_folder

SHADES: Final = (
    LINES[4],
    "#2a9d8f",
    LINES[3],
    LINES[0],
    LINES[2],
    "#7f5539",
    LINES[5],
    LINES[1],
    "#8a8a8a",
    LINES[6],
    "#b5838d",
    "#404040",
)
COLOURS: Final = dict(zip(DEPENDS, SHADES, strict=True))
PALE: Final = 0.35


def write_growth(run: Path, found: Audit) -> Path:
    """Draw `run/report/growth.png`; returns its path."""
    picture = growth_file(run)
    with whole_file(picture) as part:
        growth_figure(found).savefig(part, format="png")
    return picture


def growth_file(run: Path) -> Path:
    """The file of the figure in a run folder."""
    return report_folder(run) / "growth.png"


def growth_figure(found: Audit) -> Figure:
    """Left: megabytes per kind after each stage. Right: FLOPs of the head per clip. Projected stages are paler."""
    figure = blank_figure(11.0, 4.4)
    left, right = figure.subplots(1, 2)
    stages = (*found.stages, *found.projected)
    _draw_bytes(left, stages, measured=len(found.stages))
    _draw_flops(right, stages, measured=len(found.stages))
    return figure


def _draw_bytes(axes: Axes, stages: tuple[StageAudit, ...], *, measured: int) -> None:
    """Stacked bars, the largest kind at the bottom."""
    last = stages[-1].bytes
    foot = [0.0] * len(stages)
    for kind in sorted(last, key=lambda kind: -last[kind]):
        sizes = [stage.bytes.get(kind, 0) / 1e6 for stage in stages]
        drawn = axes.bar([stage.stage for stage in stages], sizes, 0.86, bottom=foot, color=COLOURS[kind], label=kind)
        _fade(drawn.patches, measured)
        foot = [low + size for low, size in zip(foot, sizes, strict=True)]
    _name(axes, measured, foot, "MB")
    axes.set_title("Kept after each stage (MB)")
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="upper left", edgecolor="white")
    _finish(axes, len(stages))


def _draw_flops(axes: Axes, stages: tuple[StageAudit, ...], *, measured: int) -> None:
    costs = [stage.flops / 1e6 for stage in stages]
    drawn = axes.bar([stage.stage for stage in stages], costs, 0.86, color=LINES[0])
    _fade(drawn.patches, measured)
    _name(axes, measured, costs, "MFLOPs")
    axes.set_title("Head, one prediction (million FLOPs)")
    _finish(axes, len(stages))


def _fade(bars: Sequence[Rectangle], measured: int) -> None:
    """Draw projected bars paler."""
    for bar in bars[measured:]:
        bar.set_alpha(PALE)


def _name(axes: Axes, measured: int, heights: list[float], unit: str) -> None:
    """Label the last measured and the last projected bar with its height."""
    axes.set_ylim(0, 1.12 * max(heights))
    for stage in sorted({measured, len(heights)}):
        ends = stage == len(heights)
        axes.annotate(
            f"{heights[stage - 1]:.3g} {unit}\n{'measured' if stage == measured else 'projected'}",
            (stage + 0.4 if ends else stage, heights[stage - 1]), (0, 3 if ends else 42), textcoords="offset points",
            ha="right" if ends else "center", va="bottom", fontsize=9, color=INK,
            arrowprops=None if ends else {"arrowstyle": "-", "color": "#888888", "linewidth": 0.8},
        )  # fmt: skip


def _finish(axes: Axes, stages: int) -> None:
    axes.set_xlabel("stages learnt")
    axes.set_xlim(0.3, stages + 0.7)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    tidy(axes)
