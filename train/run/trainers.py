"""Create the trainer of each stage of a run, with its seed, epochs and snapshots."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from stpr.train.data.stages import Stage
from stpr.train.learning.fit import Sgd, Terms
from stpr.train.learning.snapshot import Snapshots, fingerprint
from stpr.train.methods import method_of
from stpr.train.run.folder import snapshot_file
from stpr.train.run.prepare import Prepared
from stpr.train.run.progress import ShownProgress
from stpr.train.run.tensorboard import Scalars


@dataclass(slots=True)
class Trainers:
    """Creates a trainer per stage: sets seed, epochs, snapshots and progress reports."""

    prepared: Prepared
    out: Path
    shown: ShownProgress
    scalars: Scalars | None = None
    began: float = field(default_factory=time.monotonic)
    _snapshots: Snapshots | None = None

    def lap(self) -> float:
        """Seconds spent on the stage just finished, interrupted attempts included; restarts the clock."""
        assert self._snapshots is not None
        seconds, self.began = self._snapshots.seconds, time.monotonic()
        return seconds

    def of(self, stage: Stage) -> Sgd:
        """Create the trainer of a stage and seed the random generators."""
        recipe = self.prepared.plan.recipe
        seed = recipe.seed * 1000 + stage.index
        torch.manual_seed(seed)

        def on_epoch(number: int, total: int, terms: Terms) -> None:
            self.shown.epoch(stage.index, number, total, terms)
            if self.scalars is not None:
                self.scalars.epoch(terms)

        self._snapshots = self._new_snapshots(stage)
        return Sgd(
            epochs=self.prepared.plan.epochs(stage),
            optimizer=recipe.optimizer,
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
            fingerprint(plan.recipe, self.prepared.model.encoder.backbone.digest(), learnt, videos),
            self.shown.note,
            processes=clips.processes,
            began=self.began,
        )
