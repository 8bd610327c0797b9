"""Recover a damaged run folder: find the last intact stage and the metrics up to it.

Nothing is deleted here. A stage that is trained again replaces the damaged one when it is complete.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from msgspec.structs import replace

from stpr.runtime.contract.errors import CheckpointError
from stpr.train.run.checkpoint import StageRecord, check_stage
from stpr.train.run.folder import (
    METRICS,
    PREDICTIONS,
    begun_stages,
    metrics_file,
    named_stages,
    snapshot_file,
    stage_folder,
)
from stpr.train.run.metrics import (
    Metrics,
    accuracy_row,
    average_incremental,
    backward_forgetting,
    confusion,
    read_metrics,
    seen_accuracy,
)

REBUILT = (
    f"{METRICS} was lost and was rebuilt from each stage's {PREDICTIONS}: it lacks loss curves, times and routing of"
    " earlier stages."
)


def last_whole_stage(run: Path) -> tuple[Metrics, StageRecord, tuple[str, ...]] | None:
    """Metrics and record of the last intact stage, and notes on the others; None before the first stage.

    Raises CheckpointError, with the way to recover, if no stage is intact or the metrics can't be rebuilt.
    """
    figures = read_metrics(run) if metrics_file(run).is_file() else None
    stages = begun_stages(run)
    if figures is not None:
        stages = list(range(1, len(figures.stages) + 1))  # a later stage was saved without metrics
    elif not stages or (stages == [1] and snapshot_file(run).is_file()):  # killed before writing the metrics
        return None
    faults: list[str] = []
    for stage in reversed(stages):
        try:
            record = check_stage(run, stage)
        except CheckpointError as error:
            faults.append(error.message.partition(";")[0])  # the fix differs here
            continue
        known = _rebuilt(run, record) if figures is None else _upto(figures, stage)
        again = stages[stages.index(stage) + 1 :]
        notes = (f"{faults[0]}. {named_stages(again).capitalize()} will be trained again.",) if again else ()
        return known, record, notes
    raise CheckpointError(
        f"{run} has no intact stage to continue from: {faults[0]}; restore that stage's folder from a copy, or"
        " choose another --out and train from the first stage."
    )


def _upto(metrics: Metrics, stage: int) -> Metrics:
    """Cut the metrics back to an earlier stage, without those that only the last test measured."""
    if stage == len(metrics.stages):
        return metrics
    classes = list(chain.from_iterable(metrics.stages[:stage]))
    tested = [value is not None for value in metrics.accuracy[stage - 1]]
    known = {name for names, there in zip(metrics.stages, tested, strict=False) if there for name in names}
    return replace(
        metrics,
        classes=classes,
        stages=metrics.stages[:stage],
        accuracy=metrics.accuracy[:stage],
        seen=metrics.seen[:stage],
        final=metrics.seen[stage - 1],
        average_incremental=average_incremental(metrics.seen[:stage]),
        backward_forgetting=backward_forgetting(metrics.accuracy[:stage]),
        confusion=[[int(one == two and one in known) for two in classes] for one in classes],
        routing=[],
        curves=metrics.curves[:stage],
        unknown=metrics.unknown[:stage],
        calibration=metrics.calibration[:stage],
        tested=metrics.tested[:stage],
        routing_accuracy=None,
        oracle_accuracy=None,
    )


def _rebuilt(run: Path, record: StageRecord) -> Metrics:
    """Rebuild the metrics from the predictions of all stages up to this one."""
    sizes = [len(names) for names in record.stages]
    classes = list(record.classes)
    rows, seen, tables = [], [], []
    for stage in range(1, record.stage + 1):
        labels, predicted = _read_predictions(run, stage, classes)
        rows.append(accuracy_row(labels, predicted, sizes[:stage]))
        seen.append(seen_accuracy(labels, predicted))
        tables.append(confusion(labels, predicted, len(classes)).tolist())
    return Metrics(
        method=record.method,
        seed=record.seed,
        classes=classes,
        stages=[list(names) for names in record.stages],
        accuracy=rows,
        seen=seen,
        final=seen[-1],
        average_incremental=average_incremental(seen),
        backward_forgetting=backward_forgetting(rows),
        seconds=0.0,
        environment={},
        confusion=tables[-1],
        routing=[],
        curves=[[] for _ in sizes],
        notes=[REBUILT],
        unknown=[None for _ in sizes],
        calibration=[None for _ in sizes],
    )


def _read_predictions(run: Path, stage: int, classes: Sequence[str]) -> tuple[list[int], list[int]]:
    """Read true and predicted class indices of a stage's test clips."""
    file, places = stage_folder(run, stage) / PREDICTIONS, {name: place for place, name in enumerate(classes)}
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            pairs = [(places[row["label"]], places[row["predicted"]]) for row in csv.DictReader(lines)]
    except (OSError, KeyError, csv.Error, UnicodeDecodeError) as error:
        raise _no_figures(run, file) from error
    if not pairs:
        raise _no_figures(run, file)
    labels, predicted = zip(*pairs, strict=True)
    return list(labels), list(predicted)


def _no_figures(run: Path, file: Path) -> CheckpointError:
    return CheckpointError(
        f"{run} has no {METRICS}, and {file}, needed to rebuild it, can't be read; restore one of them from a copy. The"
        " stages can still be exported."
    )
