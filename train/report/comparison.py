"""Write a comparison's results: `table.csv` per run, `table.md` per row, `curves.png`, a page; print the table."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.text import Text

from stpr.runtime.contract.durable import whole_file
from stpr.train.compare.jobs import Outcome
from stpr.train.compare.presets import Row
from stpr.train.methods import METHODS
from stpr.train.report.comparison_figure import comparison_figure
from stpr.train.report.console import new_console, print_table
from stpr.train.report.page import strong, write_page
from stpr.train.report.quantities import duration, size
from stpr.train.run.metrics import UNKNOWN, Metrics, caveats

FIGURE: Final = "curves.png"
CAPTION: Final = "Accuracy on all classes seen so far: the mean over seeds, in a band of one standard deviation."
ROUTING: Final = (
    "Routing accuracy: the share of test clips whose largest routing weight is on the expert of their class's stage."
    " Oracle accuracy: the final accuracy, all classes seen competing, if that expert alone judged every clip. Oracle"
    " gap: oracle less final accuracy, what wrong routing costs."
)


@dataclass(frozen=True, slots=True)
class Column:
    """A metric in the table; `good` says which value is best: 1 the highest, -1 the lowest, 0 neither."""

    heading: str
    key: str
    value: Callable[[Metrics], float | None]
    good: int


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of the table, and whether it is the best of its column."""

    text: str
    best: bool = False


COLUMNS: Final = (
    Column("final accuracy", "final", lambda found: found.final, 1),
    Column("average incremental", "average_incremental", lambda found: found.average_incremental, 1),
    Column(
        "backward forgetting", "backward_forgetting",
        lambda found: found.backward_forgetting if found.forgetting_known else None, -1,
    ),
    Column("routing accuracy", "routing_accuracy", lambda found: found.routing_accuracy, 1),
    Column("oracle accuracy", "oracle_accuracy", lambda found: found.oracle_accuracy, 1),
    Column("oracle gap", "oracle_gap", lambda found: found.oracle_gap, 0),
)  # fmt: skip


def write_comparison(out: Path, outcomes: Sequence[Outcome], *, title: str, about: Mapping[str, str]) -> Path:
    """Write the tables, the figure and the page of all outcomes so far into `out`; returns the page."""
    _write_csv(out / "table.csv", outcomes)
    (out / FIGURE).unlink(missing_ok=True)  # of an earlier comparison; this one may have none
    curves = _curves(outcomes)
    if curves:
        with whole_file(out / FIGURE) as part:
            comparison_figure(curves).savefig(part, format="png")
    headings, results = table(outcomes)
    return write_page(
        "comparison.md",
        out / "table.md",
        title=title,
        headings=headings,
        results=[[strong(cell.text) if cell.best else cell.text for cell in cells] for cells in results],
        notes=notes(outcomes),
        figures=[(FIGURE, CAPTION)] if curves else [],
        changes=[(row.name, " ".join(row.changes) or "none") for row in _rows(outcomes)],
        made_with=sorted(about.items()),
    )


def show_comparison(outcomes: Sequence[Outcome]) -> None:
    """Print the table."""
    headings, results = table(outcomes)
    rows = ([Text(cell.text, style="bold" if cell.best else "") for cell in cells] for cells in results)
    print_table(new_console(), headings, rows)


def table(outcomes: Sequence[Outcome]) -> tuple[list[str], list[list[Cell]]]:
    """Headings and cells of the table: mean ± sample standard deviation per row, in per cent."""
    rows = _rows(outcomes)
    columns = [column for column in COLUMNS if any(_shares(outcomes, row, column) for row in rows)]
    bounds = {outcome.row for outcome in outcomes if outcome.metrics and METHODS[outcome.metrics.method].keeps_videos}
    rivals = [row for row in rows if row not in bounds]
    best = {column.key: _best(outcomes, rivals, column) for column in columns}
    lines = []
    for row in rows:
        runs = [outcome for outcome in outcomes if outcome.row == row]
        done = [(run, run.metrics) for run in runs if run.metrics]
        cells = [Cell(row.name), Cell(f"{len(done)} of {len(runs)}" if len(done) < len(runs) else str(len(runs)))]
        for column in columns:
            shares = _shares(outcomes, row, column)
            is_best = row in rivals and bool(shares) and _shown(shares) == best[column.key]
            cells.append(Cell(_spread(shares), is_best))
        cells.append(Cell(size(max(run.kept for run, _ in done)) if done else UNKNOWN))
        cells.append(Cell(duration(statistics.mean(found.seconds for _, found in done)) if done else UNKNOWN))
        lines.append(cells)
    return ["row", "seeds", *(column.heading for column in columns), "kept", "time"], lines


def notes(outcomes: Sequence[Outcome]) -> list[str]:
    """Paragraphs that explain the table; failed runs come last."""
    seeds = sorted({outcome.seed for outcome in outcomes})
    lines = [
        "Metrics are in per cent. Kept: bytes of the tensors stored after the last stage. Time: mean per run,"
        " including encoding, unless features came from the cache."
    ]
    if len(seeds) > 1:
        orders = {tuple(outcome.metrics.classes) for outcome in outcomes if outcome.metrics}
        order = "each its own class order" if len(orders) > 1 else "all in one class order"
        lines.insert(0, f"Mean ± sample standard deviation over the seeds {', '.join(map(str, seeds))}, {order}.")
    if any(outcome.metrics and outcome.metrics.oracle_accuracy is not None for outcome in outcomes):
        lines.append(ROUTING)
    missing = [f"{run.row.name}: {gap}" for run in outcomes if run.metrics for gap in caveats(run.metrics)]
    return [*lines, *dict.fromkeys(missing), *failures(outcomes)]


def failures(outcomes: Sequence[Outcome]) -> list[str]:
    """One line per failed row and reason, with the seeds."""
    seeds: dict[tuple[str, str], list[str]] = {}
    for outcome in outcomes:
        if outcome.failure:
            seeds.setdefault((outcome.row.name, outcome.failure), []).append(str(outcome.seed))
    return [f"{name} failed (seed {', '.join(which)}): {why}" for (name, why), which in seeds.items()]


def _rows(outcomes: Sequence[Outcome]) -> list[Row]:
    return list(dict.fromkeys(outcome.row for outcome in outcomes))


def _shares(outcomes: Sequence[Outcome], row: Row, column: Column) -> list[float]:
    values = [column.value(outcome.metrics) for outcome in outcomes if outcome.row == row and outcome.metrics]
    return [value for value in values if value is not None]


def _shown(shares: Sequence[float]) -> float:
    return round(100 * statistics.mean(shares), 1)


def _best(outcomes: Sequence[Outcome], rows: Sequence[Row], column: Column) -> float | None:
    """The best mean, rounded as in the table; None with fewer than two rows."""
    means = [_shown(shares) for row in rows if (shares := _shares(outcomes, row, column))]
    return column.good * max(column.good * mean for mean in means) if column.good and len(means) > 1 else None


def _spread(shares: Sequence[float]) -> str:
    if not shares:
        return UNKNOWN
    spread = f" ± {100 * statistics.stdev(shares):.1f}" if len(shares) > 1 else ""
    return f"{_shown(shares):.1f}{spread}"


def _curves(outcomes: Sequence[Outcome]) -> dict[str, list[list[float]]]:
    curves: dict[str, list[list[float]]] = {}
    for outcome in outcomes:
        if outcome.metrics:
            curves.setdefault(outcome.row.name, []).append(outcome.metrics.seen)
    return curves


def _write_csv(file: Path, outcomes: Sequence[Outcome]) -> None:
    with whole_file(file) as part, part.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(
            ["row", "seed", *(column.key for column in COLUMNS), "seconds", "kept_bytes", "recipe", "failed"]
        )
        for outcome in outcomes:
            found = outcome.metrics
            shares = [column.value(found) if found else None for column in COLUMNS]
            costs = [found.seconds, outcome.kept] if found else [None, None]
            writer.writerow([outcome.row.name, outcome.seed, *shares, *costs, outcome.recipe, outcome.failure])
