"""Execute a recipe in a run folder, for `stpr-train` and for each run of a comparison."""

from __future__ import annotations

from pathlib import Path

from stpr.train.learning.distributed import ALONE, Processes
from stpr.train.learning.fit import check_precision
from stpr.train.methods.build import settle
from stpr.train.run.after_stage import Origin, metrics_after, save
from stpr.train.run.begin import begin, origin_of
from stpr.train.run.metrics import Metrics, read_metrics
from stpr.train.run.prepare import Prepared, Request, prepare
from stpr.train.run.progress import ShownProgress
from stpr.train.run.protocol import learn_stages
from stpr.train.run.tensorboard import Scalars
from stpr.train.run.trainers import Trainers
from stpr.train.settings.recipe import Recipe


def execute(recipe: Recipe, request: Request, shown: ShownProgress, processes: Processes = ALONE) -> Metrics:
    """Train and test the recipe's stages in the run folder; returns the metrics.

    Raises StprError for all errors that a user can fix, most of them before training starts.
    """
    if processes.count > 1:
        shown.note(f"{processes.count} processes on one run")
    with processes.together():
        recipe, chosen = settle(recipe)
        check_precision(recipe.optimizer.precision, processes.device)
    prepared = prepare(recipe, request, shown, processes)
    if prepared is None:
        shown.note("finished before")
        return read_metrics(request.out)
    for line in filter(None, (*chosen, prepared.model.encoder.backbone.processor_note)):
        shown.note(line)
    origin = origin_of(prepared, request, shown)
    begin(prepared, request, processes)
    metrics = _learn(prepared, request.out, shown, origin)
    if cache := prepared.clips.cache:
        shown.note(f"cache: {cache.served} clips were in {request.cache}, {cache.added} were added")
    return metrics


def _learn(prepared: Prepared, out: Path, shown: ShownProgress, origin: Origin) -> Metrics:
    """Train, test and save one stage after the other, each atomically."""
    processes, metrics = prepared.clips.processes, prepared.past.metrics if prepared.past else None
    scalars = Scalars(out, metrics) if processes.is_main else None
    trainers = Trainers(prepared, out, shown, scalars)
    for finished in learn_stages(prepared.plan, prepared.model, prepared.clips, trainers.of, prepared.behind):
        metrics = metrics_after(finished, prepared.plan, origin, metrics, trainers.lap())
        with processes.together():
            if processes.is_main:
                save(out, finished, prepared, metrics)
        if scalars is not None:
            scalars.tested(finished.stage.index, metrics.final)
        shown.tested(metrics)
        if count := len(finished.doubts):
            clips = "1 training clip is" if count == 1 else f"{count} training clips are"
            shown.note(f"{clips} like another class: the report has the names, under 'Labels to check'")
    if scalars is not None:
        scalars.close()
    assert metrics is not None
    return metrics
