"""After a stage: compute the metrics, write the checkpoint and `metrics.json` into the run folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from stpr.runtime.contract.errors import CheckpointError
from stpr.runtime.contract.sampling import ClipSpec
from stpr.train.data.list_digests import joined_lists
from stpr.train.methods import cautions, method_of
from stpr.train.run.calibration import Calibration, calibration_error
from stpr.train.run.checkpoint import BackboneRecord, Doubtful, StageRecord, save_stage
from stpr.train.run.evaluate import Predicted, predictions_csv
from stpr.train.run.folder import LEARNT, PREDICTIONS, snapshot_file
from stpr.train.run.metrics import (
    Metrics,
    accuracy_row,
    average_incremental,
    backward_forgetting,
    confusion,
    routing_accuracy,
    seen_accuracy,
    write_metrics,
)
from stpr.train.run.open_set import measure
from stpr.train.run.prepare import Prepared
from stpr.train.run.protocol import Finished, Plan


@dataclass(frozen=True, slots=True)
class Origin:
    """Provenance of a run's metrics: annotation lists, machine, test clips; stored in metrics.json."""

    lists: Mapping[str, str]  # list file -> SHA-256
    environment: Mapping[str, str]
    tested: Mapping[int, str]  # stage from 1 -> digest of its test clips
    notes: tuple[str, ...] = ()  # caveats of this session


def metrics_after(finished: Finished, plan: Plan, origin: Origin, before: Metrics | None, seconds: float) -> Metrics:
    """The run's metrics after a stage that took `seconds`; `before` are those after the previous stage."""
    tested, learnt = _tested(finished), plan.stages[: finished.stage.index]
    sizes = [len(stage.classes) for stage in learnt]
    accuracy = [*(before.accuracy if before else []), accuracy_row(tested.labels, tested.predicted, sizes)]
    seen = [*(before.seen if before else []), seen_accuracy(tested.labels, tested.predicted)]
    classes = [name for stage in learnt for name in stage.classes]
    unknown = measure(finished.unknown, tested, finished.strange, sizes) if finished.unknown else None
    calibration = None
    if finished.unknown:  # if clips are held out
        right = tested.predicted == tested.labels
        errors = [calibration_error(scores, right) for scores in (tested.uncalibrated, tested.scores)]
        calibration = Calibration(before=errors[0], after=errors[1])
    several = len(finished.model.head.experts) > 1
    return Metrics(
        method=plan.recipe.method,
        seed=plan.recipe.seed,
        classes=classes,
        stages=[list(stage.classes) for stage in learnt],
        accuracy=accuracy,
        seen=seen,
        final=seen[-1],
        average_incremental=average_incremental(seen),
        backward_forgetting=backward_forgetting(accuracy),
        seconds=seconds + (before.seconds if before else 0.0),
        environment=dict(origin.environment),
        confusion=confusion(tested.labels, tested.predicted, len(classes)).tolist(),
        routing=[tested.routing_of(stage.index) for stage in learnt],
        curves=[*(before.curves if before else []), finished.curves],
        lists=joined_lists(before.lists if before else {}, origin.lists),
        notes=list(dict.fromkeys([*(before.notes if before else []), *cautions(plan.recipe), *origin.notes])),
        unknown=[*(before.unknown if before else []), unknown],
        calibration=[*(before.calibration if before else []), calibration],
        tested=[origin.tested.get(stage.index, "") for stage in learnt],
        decision_weights=finished.model.head.combiner.decision_weights,
        one_sided=None
        if (symmetric := finished.model.head.combiner.symmetric) is None
        else [name for name, both in zip(classes, symmetric, strict=True) if not both],
        routing_accuracy=routing_accuracy(tested.routing, tested.stages),
        oracle_accuracy=seen_accuracy(tested.labels, tested.oracle) if several else None,
    )


def save(out: Path, finished: Finished, prepared: Prepared, metrics: Metrics) -> None:
    """Write the stage's checkpoint and the metrics. Raises CheckpointError if they can't be written."""
    plan, clips = prepared.plan, prepared.clips
    stage, learnt = finished.stage, plan.stages[: finished.stage.index]
    videos = [video for one in learnt for video in clips.of(one, "test")]
    tested = _tested(finished)
    predictions = predictions_csv(videos, tested.predicted, tested.scores, plan.classes)
    try:
        lists = {PREDICTIONS: predictions, LEARNT: clips.learnt.csv()}
        save_stage(out, finished.model, _record(finished, prepared), lists)
        write_metrics(out, metrics)
        snapshot_file(out).unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"stage {stage.index} can't be saved to {out} ({error}); free disk space, then continue with --resume."
        ) from error


def _tested(finished: Finished) -> Predicted:
    assert finished.known is not None  # a stage just learnt has test videos (data/stages.py)
    return finished.known


def _record(finished: Finished, prepared: Prepared) -> StageRecord:
    backbone, recipe, plan = finished.model.encoder.backbone, prepared.plan.recipe, prepared.plan
    videos = prepared.clips.of(finished.stage, "train")
    learnt = Counter(video.label for video in videos)
    return StageRecord(
        stage=finished.stage.index,
        stages=tuple(earlier.classes for earlier in plan.stages[: finished.stage.index]),
        clip=ClipSpec(frames=recipe.sampling.frames, span_seconds=prepared.span),
        preprocess=backbone.spec,
        motion=finished.model.encoder.pixels.motion,
        temperature=recipe.contrast.temperature * finished.model.head.combiner.temperature_factor,
        unknown=finished.unknown,
        backbone=BackboneRecord(source=recipe.backbone.source, digest=backbone.digest()),
        method=recipe.method,
        seed=recipe.seed,
        sha256="",
        kept=(),
        clips=tuple(learnt[name] for name in finished.stage.classes),
        doubtful=_doubtful(finished, prepared),
    )


def _doubtful(finished: Finished, prepared: Prepared) -> tuple[Doubtful, ...]:
    """Clips with doubtful labels, by path; for a method that keeps videos, of all stages."""
    stages, keeps = prepared.plan.stages[: finished.stage.index], method_of(prepared.plan.recipe).keeps_videos
    shown = stages if keeps else stages[-1:]
    videos = [video for stage in shown for video in prepared.clips.of(stage, "train")]
    names = [name for stage in shown for name in stage.classes]
    return tuple(
        Doubtful(path=str(videos[row].path), label=videos[row].label, like=names[like]) for row, like in finished.doubts
    )
