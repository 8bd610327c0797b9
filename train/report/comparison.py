"""What a comparison came to: `table.csv` run by run, `table.md` row by row, `curves.png`, and a page with both."""

from __future__ import annotations

import csv
import html
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stpr.runtime.contract.durable import whole_file, write_file
from stpr.train.compare.jobs import Outcome
from stpr.train.compare.presets import BOUNDS, Row
from stpr.train.report.comparison_figure import comparison_figure
from stpr.train.report.run import duration, html_figure, html_page, html_table, markdown_table
from stpr.train.run.metrics import UNKNOWN, Metrics, caveats

CAPTION: Final = "Accuracy on all classes seen so far: the mean over seeds, in a band of one standard deviation."
ROUTING: Final = (
    "Routing accuracy: the share of test clips whose largest routing weight is on the expert of their class's stage."
    " Oracle accuracy: the final accuracy, all classes seen competing, if that expert alone judged every clip. Oracle"
    " gap: oracle less final accuracy, what wrong routing costs."
)


@dataclass(frozen=True, slots=True)
class Column:
    """A share of the table, and which end of it is good: 1 high, -1 low, 0 neither."""

    heading: str
    key: str
    value: Callable[[Metrics], float | None]
    good: int


COLUMNS: Final = (
    Column("final", "final", lambda found: found.final, 1),
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
    """Write the tables, the picture and the page of all outcomes so far into `out`; returns the page."""
    _write_csv(out / "table.csv", outcomes)
    headings, cells = table(outcomes)
    rows = [(row.name, " ".join(row.changes) or "the recipe as it is") for row in _rows(outcomes)]
    parts = [html_table(headings, cells), *(f"<p>{html.escape(sentence)}</p>" for sentence in notes(outcomes))]
    lines = [f"# {title}", markdown_table(headings, cells), *notes(outcomes)]
    (out / "curves.png").unlink(missing_ok=True)  # of an earlier comparison, which may have had one
    if curves := _curves(outcomes):
        with whole_file(out / "curves.png") as part:
            comparison_figure(curves).savefig(part, format="png")
        parts.append(html_figure(CAPTION, (out / "curves.png").read_bytes()))
        lines.append(f"![{CAPTION}](curves.png)\n\n{CAPTION}")
    for heading, heads, body in (
        ("Rows", ("row", "changes"), rows),
        ("Made with", ("what", "which"), sorted(about.items())),
    ):
        parts += [f"<h2>{heading}</h2>", html_table(heads, body)]
        lines += [f"## {heading}", markdown_table(heads, body)]
    write_file(out / "table.md", ("\n\n".join(lines) + "\n").encode())
    return write_file(out / "index.html", html_page(title, parts).encode())


def table(outcomes: Sequence[Outcome]) -> tuple[list[str], list[list[str]]]:
    """Headings, and a line of cells per row: means ± sample standard deviations in per cent, the best **bold**."""
    rows = _rows(outcomes)
    columns = [column for column in COLUMNS if any(_shares(outcomes, row, column) for row in rows)]
    bounds = {outcome.row for outcome in outcomes if outcome.metrics and outcome.metrics.method in BOUNDS}
    rivals = [row for row in rows if row not in bounds]
    best = {column.key: _best(outcomes, rivals, column) for column in columns}
    lines = []
    for row in rows:
        runs = [outcome for outcome in outcomes if outcome.row == row]
        done = [(run, run.metrics) for run in runs if run.metrics]
        cells = [row.name, f"{len(done)} of {len(runs)}" if len(done) < len(runs) else str(len(runs))]
        for column in columns:
            shares = _shares(outcomes, row, column)
            text = _spread(shares)
            cells.append(f"**{text}**" if row in rivals and shares and _shown(shares) == best[column.key] else text)
        cells.append(_size(max(run.kept for run, _ in done)) if done else UNKNOWN)
        cells.append(duration(statistics.mean(found.seconds for _, found in done)) if done else UNKNOWN)
        lines.append(cells)
    return ["row", "seeds", *(column.heading for column in columns), "kept", "time"], lines


def notes(outcomes: Sequence[Outcome]) -> list[str]:
    """What has to be known to read the table, a sentence or two each; why runs failed comes last."""
    seeds = sorted({outcome.seed for outcome in outcomes})
    said = [
        "Figures in per cent; kept: all tensors that outlive the last stage; time: of one run, with clips to encode or"
        " to take from the cache."
    ]
    if len(seeds) > 1:
        orders = {tuple(outcome.metrics.classes) for outcome in outcomes if outcome.metrics}
        order = "each its own class order" if len(orders) > 1 else "all in one class order"
        said.insert(0, f"Mean ± sample standard deviation over the seeds {', '.join(map(str, seeds))}, {order}.")
    if any(outcome.metrics and outcome.metrics.oracle_accuracy is not None for outcome in outcomes):
        said.append(ROUTING)
    missing = [f"{run.row.name}: {gap}" for run in outcomes if run.metrics for gap in caveats(run.metrics)]
    return [*said, *dict.fromkeys(missing), *failures(outcomes)]


def failures(outcomes: Sequence[Outcome]) -> list[str]:
    """A line for each row and each reason why runs of it have no figures."""
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
    """What the best rows show; None where there is nothing to choose from."""
    means = [_shown(shares) for row in rows if (shares := _shares(outcomes, row, column))]
    return column.good * max(column.good * mean for mean in means) if column.good and len(means) > 1 else None


def _spread(shares: Sequence[float]) -> str:
    if not shares:
        return UNKNOWN
    spread = f" ± {100 * statistics.stdev(shares):.1f}" if len(shares) > 1 else ""
    return f"{_shown(shares):.1f}{spread}"


def _size(count: float) -> str:
    return f"{count / 1e6:.2f} MB" if count < 1e9 else f"{count / 1e9:.2f} GB"


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
            figures = [found.seconds, outcome.kept] if found else [None, None]
            writer.writerow([outcome.row.name, outcome.seed, *shares, *figures, outcome.recipe, outcome.failure])
