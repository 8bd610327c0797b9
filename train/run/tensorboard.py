"""Write TensorBoard scalars: each loss term by epoch, and the accuracy on all classes seen so far by stage."""

from __future__ import annotations

import shutil
from pathlib import Path

from tensorboardX import SummaryWriter

from stpr.train.learning.fit import Terms
from stpr.train.run.folder import tensorboard_folder
from stpr.train.run.metrics import Metrics


class Scalars:
    """Writes `run/tensorboard`; each session first rewrites it from the finished stages, so no step occurs twice."""

    def __init__(self, run: Path, past: Metrics | None) -> None:
        shutil.rmtree(tensorboard_folder(run), ignore_errors=True)
        self.writer = SummaryWriter(str(tensorboard_folder(run)))
        self.epochs = 0
        if past is not None:
            for stage, (curves, seen) in enumerate(zip(past.curves, past.seen, strict=True), start=1):
                for terms in curves:
                    self.epoch(terms)
                self.tested(stage, seen)

    def epoch(self, terms: Terms) -> None:
        """Add the mean loss terms of the next epoch."""
        self.epochs += 1
        for name, value in terms.items():
            self.writer.add_scalar(f"loss/{name}", value, self.epochs)

    def tested(self, stage: int, seen: float) -> None:
        """Add the accuracy on all classes seen so far, after a stage."""
        self.writer.add_scalar("accuracy/seen", seen, stage)
        self.writer.flush()

    def close(self) -> None:
        """Flush and close."""
        self.writer.close()
