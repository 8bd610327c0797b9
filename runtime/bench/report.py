"""The results of `stpr-bench`: the JSON record, and the printed tables."""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Final

import msgspec
import numpy as np

from stpr.runtime.bench.watch import Watched
from stpr.runtime.decision import BundleId
from stpr.runtime.events import EventSettings
from stpr.runtime.untrimmed import ClassFigures, EventFigures, Scores

SCHEMA: Final = 1
ALL: Final = "all"
SCORES: Final = ("actions", "events", "right", "precision", "recall", "F1")
VIDEO: Final = ("video", *SCORES, "false/min", "delay p50", "p95", "overlap", "still")
SEEDS: Final = ("over seeds", "F1", "false/min", "overlap", "still")
WAIT: Final = ("wait", *SCORES, "false/min", "delay p50", "p95")
CLASS: Final = ("class", *SCORES, "confused with")
PART: Final = ("ms of one call", "p50", "p95", "p99")
MOST_NAMED: Final = 3  # labels listed under "confused with"
LONGEST_NAME: Final = 48  # of a name in the table, in letters


class Latency(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Percentiles of a duration in milliseconds."""

    p50: float
    p95: float
    p99: float


class Cost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cost of a run. `fps` includes video decoding, `latency_ms` (frame to prediction) does not.

    Frames, encoded and predictions are totals over all cameras, `fps` is per camera; memory is that of the process.
    """

    machine: str
    cpus: int | None
    frames: int
    encoded: int
    predictions: int
    fps: float
    latency_ms: Latency | None
    peak_memory_mb: float
    cameras: int = 1
    parts: dict[str, Latency] = {}  # per call; calls of the graphs serve all cameras at once


class Spread(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Mean and sample standard deviation over several streams."""

    mean: float
    deviation: float


class Spreads(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Metrics of a kind of stream over its seeds; None if a stream lacks the metric."""

    f1: Spread | None
    false_a_minute: Spread | None
    overlap: Spread | None = None
    still: Spread | None


class BenchReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All results of a benchmark, and the settings they depend on."""

    schema: int
    bundle: BundleId
    engine: str
    threads: int | None  # None: all cores
    annotations: str | None  # None: only speed was measured; `all` is None, `videos` is empty
    tolerance: float  # seconds
    settings: EventSettings
    not_learnt: dict[str, int]  # label -> actions
    cost: Cost
    all: EventFigures | None
    videos: dict[str, EventFigures]
    waits: dict[str, EventFigures] = {}  # over all videos: delay of a start in seconds -> metrics
    seeds: dict[str, Spreads] = {}  # over several embedded streams of a kind, by name


def spreads(videos: Mapping[str, EventFigures]) -> dict[str, Spreads]:
    """The spread over the seeds of a stream; each seed has a folder with videos of the same names."""
    kinds: dict[str, list[EventFigures]] = {}
    for name, found in videos.items():
        kinds.setdefault(PurePath(name).stem, []).append(found)
    return {
        kind: Spreads(
            f1=_spread([found.f1 for found in seeds]),
            false_a_minute=_spread([found.false_a_minute for found in seeds]),
            overlap=_spread([found.overlap for found in seeds]),
            still=_spread([found.still for found in seeds]),
        )
        for kind, seeds in kinds.items()
    }


def _spread(values: Sequence[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    if len(known) < max(2, len(values)):
        return None
    return Spread(mean=float(np.mean(known)), deviation=float(np.std(known, ddof=1)))


def measure_cost(watched: Sequence[Watched], parts: Mapping[str, Sequence[float]] = {}, cameras: int = 1) -> Cost:
    """Compute the cost of a run; call it first, since peak memory grows with later work."""
    timings = [each.timing for each in watched]
    latencies = [latency for each in watched for latency in each.latencies]
    seconds = sum((timing.frames - 1) / timing.fps for timing in timings if timing.fps > 0)
    return Cost(
        machine=platform.platform(),
        cpus=os.cpu_count(),
        frames=sum(timing.frames for timing in timings),
        encoded=sum(timing.encoded for timing in timings),
        predictions=len(latencies),
        fps=sum(timing.frames - 1 for timing in timings) / seconds if seconds > 0 else 0.0,
        latency_ms=_percentiles(latencies),
        peak_memory_mb=_peak_memory() / 1e6,
        cameras=cameras,
        parts={part: found for part, calls in parts.items() if (found := _percentiles(calls)) is not None},
    )


def _percentiles(milliseconds: Sequence[float]) -> Latency | None:
    if not milliseconds:
        return None
    p50, p95, p99 = (float(q) for q in np.percentile(milliseconds, (50, 95, 99)))
    return Latency(p50=p50, p95=p95, p99=p99)


def report_lines(report: BenchReport) -> list[str]:
    """Format the report as lines."""
    judged = _events_lines(report, report.all) if report.all is not None else []
    return [*judged, *_parts_lines(report.cost), _cost_line(report.cost)]


def _parts_lines(cost: Cost) -> list[str]:
    rows = [[part, *(f"{ms:.2f}" for ms in (took.p50, took.p95, took.p99))] for part, took in cost.parts.items()]
    return [*_table(PART, rows), ""] if rows else []


def _events_lines(report: BenchReport, found: EventFigures) -> list[str]:
    rows = [_video_row(name, figures) for name, figures in report.videos.items()]
    if len(rows) > 1:
        rows.append(_video_row(ALL, found))
    seeds = [_seeds_row(kind, spread) for kind, spread in report.seeds.items()]
    waits = [_video_row(f"{wait} s", figures)[: len(WAIT)] for wait, figures in report.waits.items()]
    classes = [_class_row(label, figures, report.not_learnt) for label, figures in found.classes.items()]
    return [
        *_table(VIDEO, rows),
        "",
        *([*_table(SEEDS, seeds), ""] if seeds else []),
        *([*_table(WAIT, waits), ""] if waits else []),
        *_table(CLASS, classes),
        "",
        f"An event is right if it starts within its action or {report.tolerance:g} s after; each action counts once."
        " Delay: from the action's end until the event was reported, in seconds.",
        "Overlap: of the action and the window in which it was seen whole, intersection over union.",
        "Still: the share of windows without any action that are classified as one. Confused with: the labels that were"
        " reported instead of an action.",
        "",
    ]


def _cost_line(cost: Cost) -> str:
    latency = cost.latency_ms
    delays = (
        f"latency p50 {latency.p50:.1f}, p95 {latency.p95:.1f}, p99 {latency.p99:.1f} ms"
        if latency
        else "no prediction: all videos are shorter than a clip"
    )
    counts = f"{cost.frames} frames, {cost.encoded} encoded, {cost.predictions} predictions"
    rate = f"{cost.fps:.1f} fps" if cost.cameras == 1 else f"{cost.cameras} cameras at {cost.fps:.1f} fps each"
    return f"{counts}, {rate}, {delays}, peak memory {cost.peak_memory_mb:.0f} MB"


def _video_row(name: str, found: EventFigures) -> list[str]:
    delays = ("-", "-") if found.delay is None else (f"{found.delay.median:.2f}", f"{found.delay.p95:.2f}")
    return [
        name,
        *_scores(found),
        f"{found.false_a_minute:.2f}",
        *delays,
        _text(found.overlap, ".2f"),
        _text(found.still, ".1%"),
    ]


def _seeds_row(kind: str, found: Spreads) -> list[str]:
    shares = ((found.f1, ".3f"), (found.false_a_minute, ".2f"), (found.overlap, ".2f"), (found.still, ".1%"))
    return [kind, *("-" if one is None else f"{one.mean:{form}} ± {one.deviation:{form}}" for one, form in shares)]


def _class_row(label: str, found: ClassFigures, unknown: Mapping[str, int]) -> list[str]:
    others = [f"{label} {count}" for label, count in found.confused_with.items()]
    more = ["..."] if len(others) > MOST_NAMED else []
    words = ", ".join([*others[:MOST_NAMED], *more]) or "-"
    if label in unknown:
        return [f"{label} (not learnt)", str(found.actions), *["-"] * (len(SCORES) - 1), words]
    return [label, *_scores(found), words]


def _scores(found: Scores) -> list[str]:
    counts = (str(count) for count in (found.actions, found.events, found.right))
    return [*counts, *(_text(share, ".3f") for share in (found.precision, found.recall, found.f1))]


def _text(number: float | None, form: str) -> str:
    return "-" if number is None else format(number, form)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Format a table: text columns left-aligned, numbers right-aligned."""
    cells = [[_short(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    words = {0, *(column for column, heading in enumerate(headings) if heading == CLASS[-1])}
    return [
        "  ".join(
            cell.ljust(width) if column in words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _peak_memory() -> int:
    """Peak memory of this process in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # elsewhere the figure may include the parent process
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
