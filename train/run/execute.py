"""A recipe carried out in a run folder: what `stpr-train` does, and every run of a comparison."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from stpr.runtime.contract.errors import RecipeError
from stpr.train.data.source import skip_list
from stpr.train.data.stages import Stage
from stpr.train.learning.distributed import ALONE, Processes
from stpr.train.learning.fit import Sgd, Terms
from stpr.train.learning.snapshot import Snapshots, fingerprint
from stpr.train.methods import method_of
from stpr.train.run.after_stage import Origin, metrics_after, save
from stpr.train.run.environment import environment
from stpr.train.run.folder import recipe_file, snapshot_file
from stpr.train.run.metrics import Metrics, read_metrics
from stpr.train.run.prepare import Prepared, Request, prepare
from stpr.train.run.progress import ShownProgress
from stpr.train.run.protocol import learn_stages
from stpr.train.run.tensorboard import Scalars
from stpr.train.settings.load import write_recipe
from stpr.train.settings.recipe import Recipe


def execute(recipe: Recipe, request: Request, shown: ShownProgress, processes: Processes = ALONE) -> Metrics:
    """Learn the recipe's stages in the run folder; returns the figures.

    Raises StprError for all that a user can mend, most of it before anything is learnt.
    """
    if processes.count > 1:
        shown.note(f"{processes.count} processes on one run")
    prepared = prepare(recipe, request, shown, processes)
    if prepared is None:
        shown.note("finished before")
        return read_metrics(request.out)
    notes = {}
    if request.cache:
        notes["cache"] = str(request.cache)
    if skipped := skip_list(recipe.data).lines:
        notes["skipped"] = str(len(skipped))
        shown.note(f"skip list {recipe.data.skip}: {len(skipped)} left out")
    origin = Origin(prepared.lists, environment(processes) | notes)
    metrics = _learn(prepared, request.out, shown, origin)
    if cache := prepared.clips.cache:
        shown.note(f"cache: {cache.served} clips were in {request.cache}, {cache.added} were added")
    return metrics


def _learn(prepared: Prepared, out: Path, shown: ShownProgress, origin: Origin) -> Metrics:
    """Learn, test and save one stage after the other; on disk each is there as a whole or not at all."""
    processes, metrics = prepared.clips.processes, prepared.past.metrics if prepared.past else None
    with processes.together():
        if processes.is_main:
            _begin(out, prepared.plan.recipe)
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
    if scalars is not None:
        scalars.close()
    assert metrics is not None
    return metrics


@dataclass(slots=True)
class Trainers:
    """A trainer for each stage: its seed, its number of epochs, its snapshots, and what is told of its epochs."""

    prepared: Prepared
    out: Path
    shown: ShownProgress
    scalars: Scalars | None = None
    began: float = field(default_factory=time.monotonic)
    _snapshots: Snapshots | None = None

    def lap(self) -> float:
        """Seconds that the finished stage took, killed attempts included; the clock of the next one starts."""
        assert self._snapshots is not None
        seconds, self.began = self._snapshots.seconds, time.monotonic()
        return seconds

    def of(self, stage: Stage) -> Sgd:
        """The trainer of a stage; random numbers begin here."""
        recipe = self.prepared.plan.recipe
        settings, seed = recipe.optimizer, recipe.seed * 1000 + stage.index
        torch.manual_seed(seed)

        def on_epoch(number: int, total: int, terms: Terms) -> None:
            self.shown.epoch(stage.index, number, total, terms)
            if self.scalars is not None:
                self.scalars.epoch(terms)

        first = stage.index == 1 or method_of(recipe).keeps_videos
        self._snapshots = self._new_snapshots(stage)
        return Sgd(
            epochs=settings.epochs_first if first else settings.epochs_later,
            optimizer=settings,
            seed=seed,
            on_epoch=on_epoch,
            snapshots=self._snapshots,
        )

    def _new_snapshots(self, stage: Stage) -> Snapshots:
        plan, clips = self.prepared.plan, self.prepared.clips
        sofar = plan.stages[: stage.index]
        again = sofar if method_of(plan.recipe).keeps_videos else [stage]
        videos = [video for one in again for video in clips.of(one, "train")]
        learnt = [earlier.classes for earlier in sofar]
        return Snapshots(
            snapshot_file(self.out),
            stage.index,
            fingerprint(plan.recipe, learnt, videos),
            self.shown.note,
            processes=clips.processes,
            began=self.began,
        )


def _begin(out: Path, recipe: Recipe) -> None:
    try:
        write_recipe(recipe, recipe_file(out))
    except OSError as error:
        raise RecipeError(f"--out {out} can't be written ({error.strerror}); choose another folder.") from error
