"""The report of a run: pictures, a Markdown page, and one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Final

from matplotlib.figure import Figure

from stpr.runtime.contract.durable import whole_file, write_file
from stpr.train.report.figures import (
    accuracy_figure,
    confusion_figure,
    forgetting_figure,
    losses_figure,
    routing_figure,
)
from stpr.train.run.folder import report_folder
from stpr.train.run.metrics import UNKNOWN, Metrics, caveats, read_metrics

CAPTIONS: Final = {
    "accuracy": "Accuracy after each stage: on all classes seen so far, and what became of each stage's classes.",
    "forgetting": "Accuracy on the test clips of each stage (column) after each stage learnt (row).",
    "confusion": "Which class was taken for which after the last stage; lines part the stages.",
    "routing": "The mean weight that a stage's test clips (row) give to each stage's expert (column).",
    "losses": "Loss terms, epoch by epoch; grey lines part the stages.",
}
UNKNOWN_HEADINGS: Final = (
    "after stage",
    "AUROC",
    "false alarms at the wished recall",
    "false alarms by the thresholds",
    "recall by the thresholds",
)
HEADINGS: Final = (
    "run", "final", "average incremental", "backward forgetting",
    "routing accuracy", "oracle accuracy", "seed", "time",
)  # fmt: skip


def write_report(run: Path, compare: Mapping[str, Path] | None = None) -> Path:
    """Draw `run/metrics.json` into `run/report/`; `compare` names other run folders to set beside it.

    Returns the HTML page. Raises CheckpointError if a run has no readable figures.
    """
    metrics = read_metrics(run)
    others = {name: read_metrics(path) for name, path in (compare or {}).items()}
    folder = report_folder(run)
    pictures = _draw(metrics, others)
    for name in CAPTIONS:
        (folder / f"{name}.png").unlink(missing_ok=True)  # of an earlier report, which may have had more to show
    for name, figure in pictures.items():
        with whole_file(folder / f"{name}.png") as part:
            figure.savefig(part, format="png")
    rows = [_row(f"{metrics.method} (this run)", metrics), *(_row(name, other) for name, other in others.items())]
    said = [*caveats(metrics), *(f"{name}: {note}" for name, other in others.items() for note in other.notes)]
    title = f"{metrics.method}: {len(metrics.classes)} classes in {len(metrics.stages)} stages"
    write_file(folder / "report.md", _markdown(title, metrics, rows, said, list(pictures)).encode())
    files = {name: folder / f"{name}.png" for name in pictures}
    return write_file(folder / "index.html", _html(title, metrics, rows, said, files).encode())


def _draw(metrics: Metrics, others: Mapping[str, Metrics]) -> dict[str, Figure]:
    figures = {
        "accuracy": accuracy_figure(metrics, others),
        "forgetting": forgetting_figure(metrics),
        "confusion": confusion_figure(metrics),
    }
    if metrics.routing:
        figures["routing"] = routing_figure(metrics)
    if any(epoch for epochs in metrics.curves for epoch in epochs):
        figures["losses"] = losses_figure(metrics)
    return figures


def _row(name: str, metrics: Metrics) -> tuple[str, ...]:
    lost = metrics.backward_forgetting if metrics.forgetting_known else None
    shares = (metrics.final, metrics.average_incremental, lost, metrics.routing_accuracy, metrics.oracle_accuracy)
    return (
        name,
        *map(_share, shares),
        str(metrics.seed),
        duration(metrics.seconds),
    )


def _unknown_rows(metrics: Metrics) -> list[tuple[str, ...]]:
    """What became of test clips of classes that were not learnt yet, stage by stage."""
    return [
        (str(stage), *map(_share, (one.auroc, one.false_positive_rate_at_recall, one.false_positive_rate, one.recall)))
        for stage, one in enumerate(metrics.unknown, start=1)
        if one is not None
    ]


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{100 * value:.1f} %"


def duration(seconds: float) -> str:
    """A time in the two units that matter."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _made_with(metrics: Metrics) -> list[tuple[str, str]]:
    lists = [(f"SHA-256 of {name}", digest) for name, digests in metrics.lists.items() for digest in digests]
    return [*sorted(metrics.environment.items()), *lists]


def _markdown(title: str, metrics: Metrics, rows: list[tuple[str, ...]], said: list[str], pictures: list[str]) -> str:
    parts = [f"# {title}", markdown_table(HEADINGS, rows), *said]
    parts += [f"![{CAPTIONS[name]}]({name}.png)\n\n{CAPTIONS[name]}" for name in pictures]
    if strange := _unknown_rows(metrics):
        parts += ["## Classes not learnt yet", markdown_table(UNKNOWN_HEADINGS, strange)]
    stages = [(str(index), ", ".join(classes)) for index, classes in enumerate(metrics.stages, start=1)]
    parts += ["## Stages", markdown_table(("stage", "classes"), stages)]
    parts += ["## Made with", markdown_table(("what", "which"), _made_with(metrics))]
    return "\n\n".join(parts) + "\n"


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of GitHub's Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _html(
    title: str, metrics: Metrics, rows: list[tuple[str, ...]], said: list[str], pictures: Mapping[str, Path]
) -> str:
    stages = [(str(index), ", ".join(classes)) for index, classes in enumerate(metrics.stages, start=1)]
    parts = [html_table(HEADINGS, rows), *(f"<p>{html.escape(sentence)}</p>" for sentence in said)]
    parts += [html_figure(CAPTIONS[name], path.read_bytes()) for name, path in pictures.items()]
    if unknown := _unknown_rows(metrics):
        parts += ["<h2>Classes not learnt yet</h2>", html_table(UNKNOWN_HEADINGS, unknown)]
    parts += ["<h2>Stages</h2>", html_table(("stage", "classes"), stages)]
    parts += ["<h2>Made with</h2>", html_table(("what", "which"), _made_with(metrics))]
    return html_page(title, parts)


def html_page(title: str, parts: Sequence[str]) -> str:
    """One page that needs nothing beside it; `parts` are HTML already."""
    return PAGE.substitute(title=html.escape(title), body="\n".join(parts))


def html_figure(caption: str, png: bytes) -> str:
    """A picture inside the page."""
    data = base64.b64encode(png).decode("ascii")
    text = html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'


def html_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; cells are plain text, and **bold** ones bold as in Markdown."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in headings)
    body = "\n".join("<tr>" + "".join(f"<td>{_html_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _html_cell(cell: str) -> str:
    return re.sub(r"^\*\*(.+)\*\*$", r"<strong>\1</strong>", html.escape(cell))


PAGE: Final = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .3rem 1.2rem .3rem 0; border-bottom: 1px solid #ddd; }
td { overflow-wrap: anywhere; }
figure { margin: 2rem 0; } img { max-width: 100%; height: auto; } figcaption { color: #666; font-size: .9rem; }
</style>
<h1>$title</h1>
$body
</html>
""")
