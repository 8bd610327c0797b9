"""Write the report of a run: figures, `report.md`, and a self-contained HTML page."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from stpr.runtime.contract.durable import whole_file
from stpr.runtime.contract.errors import CheckpointError
from stpr.train.report.figures import (
    accuracy_figure,
    confusion_figure,
    forgetting_figure,
    losses_figure,
    routing_figure,
)
from stpr.train.report.mistakes import MOST_PAIRS, confused_pairs, most_telling, read_mistakes
from stpr.train.report.needs import advice, class_figures, doubtful_labels, least_recognised
from stpr.train.report.page import write_page
from stpr.train.report.quantities import duration, percent
from stpr.train.report.strips import MOST_STRIPS, strips_figure
from stpr.train.run.folder import MISTAKES, report_folder
from stpr.train.run.metrics import UNKNOWN, Metrics, caveats, read_metrics, scored_on

CAPTIONS: Final = {
    "accuracy": "Accuracy after each stage: on all classes seen so far (left), and on each stage's classes (right).",
    "forgetting": "Accuracy on the test clips of each stage (column) after each stage learnt (row).",
    "confusion": "Predicted against true class after the last stage; lines separate the stages.",
    "routing": "Mean routing weight that a stage's test clips (row) give to each stage's expert (column).",
    "losses": "Loss terms by epoch; grey lines separate the stages.",
}
HEADINGS: Final = (
    "run", "final accuracy", "average incremental", "backward forgetting",
    "routing accuracy", "oracle accuracy", "seed", "time",
)  # fmt: skip

MOST_NEEDS: Final = 8  # classes listed as needing clips


def finished_runs(folders: Sequence[Path]) -> dict[str, Metrics]:
    """Read the metrics of runs, keyed by folder name; by path if two folders share a name.

    Raises CheckpointError if a run has no readable metrics.
    """
    names = {folder.absolute().name for folder in folders}
    apart = len(names) == len(set(folders))
    return {folder.absolute().name if apart else str(folder): read_metrics(folder) for folder in folders}


def summary(metrics: Metrics, folder: Path, report: Path) -> str:
    """The results of a run in three lines, plus one line per caveat."""
    forgot = f"{100 * metrics.backward_forgetting:.1f} points" if metrics.forgetting_known else "unknown"
    several = f"; average over stages {metrics.average_incremental:.1%}; backward forgetting {forgot}"
    notes = "".join(f"note:   {sentence}\n" for sentence in caveats(metrics))
    export = shlex.join(["stpr-export", "--stage", str(len(metrics.seen)), "--run", str(folder)])
    return (
        f"{metrics.method}: {metrics.final:.1%} on {scored_on(metrics)} after stage {len(metrics.seen)}"
        f"{several if len(metrics.seen) > 1 else ''}\n"
        f"{notes}"
        f"report: {report}\n"
        f"next:   {export}"
    )


def write_report(run: Path, others: Mapping[str, Metrics] | None = None) -> Path:
    """Write `run/report/` from `run/metrics.json`; `others` are named runs to show for comparison.

    Returns the path of the HTML page. Raises CheckpointError if the run has no readable metrics.
    """
    metrics, others = read_metrics(run), others or {}
    folder = report_folder(run)
    figures = _draw(metrics, others)
    for name in CAPTIONS:
        (folder / f"{name}.png").unlink(missing_ok=True)  # of an earlier report; this one may have fewer figures
    for name, figure in figures.items():
        _save(figure, folder / f"{name}.png")
    return write_page(
        "run.md",
        folder / "report.md",
        title=f"{metrics.method}: {_count(metrics.classes, 'class', 'es')} in {_count(metrics.stages, 'stage', 's')}",
        headings=HEADINGS,
        results=[
            _result(f"{metrics.method} (this run)", metrics),
            *(_result(name, other) for name, other in others.items()),
        ],
        caveats=[*caveats(metrics), *(f"{name}: {note}" for name, other in others.items() for note in other.notes)],
        figures=[(f"{name}.png", CAPTIONS[name]) for name in figures],
        **_mistakes(run, metrics),
        **_needs(run, metrics),
        doubtful_headings=("class", "is like", "training clip"),
        doubtful=doubtful_labels(run, metrics),
        unknown_headings=_unknown_headings(metrics),
        unknown=_unknown(metrics),
        calibration_headings=("after stage", "calibration error before", "calibration error after"),
        calibration=[
            (str(stage), percent(one.before), percent(one.after))
            for stage, one in enumerate(metrics.calibration, start=1)
            if one is not None
        ],
        decision_weights_headings=("view or expert", "weight"),
        one_sided=metrics.one_sided,
        decision_weights=[(name, f"{weight:.1f}") for name, weight in metrics.decision_weights.items()],
        stages=[(stage, ", ".join(classes)) for stage, classes in enumerate(metrics.stages, start=1)],
        made_with=_made_with(metrics),
    )


def _count(things: Sequence[object], name: str, plural: str) -> str:
    return f"{len(things)} {name}{plural if len(things) != 1 else ''}"


def _draw(metrics: Metrics, others: Mapping[str, Metrics]) -> dict[str, Figure]:
    figures = {
        "accuracy": accuracy_figure(metrics, others),
        "forgetting": forgetting_figure(metrics),
        "confusion": confusion_figure(metrics),
    }
    if len(metrics.stages) == 1:
        del figures["forgetting"]  # a single square, as is routing
        if not others:
            del figures["accuracy"]
    elif metrics.routing:
        figures["routing"] = routing_figure(metrics)
    if any(epoch for epochs in metrics.curves for epoch in epochs):
        figures["losses"] = losses_figure(metrics)
    return figures


def _mistakes(run: Path, metrics: Metrics) -> dict[str, Any]:
    """Template values on mistakes after the last stage: confused pairs of classes, and film strips of the clips."""
    picture, stage, pairs = report_folder(run) / MISTAKES, len(metrics.stages), confused_pairs(metrics)
    picture.unlink(missing_ok=True)  # of an earlier report
    wrong, tested = sum(pair.count for pair in pairs), sum(map(sum, metrics.confusion))
    content = {
        "wrong": f"{wrong} of {tested} test clips were misclassified after stage {stage}.",
        "pair_headings": ("class", "taken for", "clips", "of its test clips"),
        "pairs": [(pair.label, pair.predicted, str(pair.count), str(pair.clips)) for pair in pairs[:MOST_PAIRS]],
        "more_pairs": max(0, len(pairs) - MOST_PAIRS),
        "strips": "",
        "strips_caption": "",
        "strips_missing": "",
    }
    try:
        mistakes = read_mistakes(run, stage)
    except CheckpointError as error:
        return {**content, "strips_missing": error.message if wrong else ""}
    if shown := most_telling(mistakes, MOST_STRIPS):
        _save(strips_figure(shown), picture)
        some = f"{len(shown)} of the {len(mistakes)} clips" if len(shown) < len(mistakes) else "The clips"
        chosen = ", the most confident of each pair of classes" if len(shown) < len(mistakes) else ""
        content["strips_caption"] = (
            f"{some} that were misclassified{chosen}: true class, predicted class with its score, and video."
        )
        content["strips"] = MISTAKES
    return content


def _needs(run: Path, metrics: Metrics) -> dict[str, Any]:
    """Template values on which classes need more clips, judged by test accuracy and number of training clips."""
    figures = class_figures(run, metrics)
    return {
        "advice": advice(figures),
        "need_headings": ("class", "stage", "accuracy", "test clips", "training clips"),
        "needs": [
            (one.name, str(one.stage), percent(one.accuracy), str(one.tested), str(one.learnt or UNKNOWN))
            for one in least_recognised(figures, MOST_NEEDS)
        ],
    }


def _save(figure: Figure, file: Path) -> None:
    with whole_file(file) as part:
        figure.savefig(part, format="png")


def _result(name: str, metrics: Metrics) -> tuple[str, ...]:
    forgetting = metrics.backward_forgetting if metrics.forgetting_known else None
    shares = (metrics.final, metrics.average_incremental, forgetting, metrics.routing_accuracy, metrics.oracle_accuracy)
    return (name, *map(percent, shares), str(metrics.seed), duration(metrics.seconds))


def _unknown_headings(metrics: Metrics) -> tuple[str, ...]:
    targets = {one.target_recall for one in metrics.unknown if one is not None and one.target_recall is not None}
    target = f"{100 * targets.pop():.3g} %" if len(targets) == 1 else "target"
    return "after stage", "AUROC", f"FPR at {target} TPR", "FPR by the thresholds", "TPR by the thresholds"


def _unknown(metrics: Metrics) -> list[tuple[str, ...]]:
    return [
        (str(stage), *map(percent, (one.auroc, one.false_positive_rate_at_recall, one.false_positive_rate, one.recall)))
        for stage, one in enumerate(metrics.unknown, start=1)
        if one is not None
    ]


def _made_with(metrics: Metrics) -> list[tuple[str, str]]:
    lists = [(f"SHA-256 of {name}", digest) for name, digests in metrics.lists.items() for digest in digests]
    return [*sorted(metrics.environment.items()), *lists]
