"""What TensorBoard shows of a run: each loss term by epoch, the accuracy on all classes seen so far by stage."""

from __future__ import annotations

import shutil
from pathlib import Path

from tensorboardX import SummaryWriter

from stpr.train.learning.fit import Terms
from stpr.train.run.folder import tensorboard_folder
from stpr.train.run.metrics import Metrics


class Scalars:
    """Writes `run/tensorboard`, begun anew by every process from the figures of the stages behind it.

    So a step is never there twice, however a run was stopped.
    """

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
        """The next epoch of the run ended with these mean loss terms."""
        self.epochs += 1
        for name, value in terms.items():
            self.writer.add_scalar(f"loss/{name}", value, self.epochs)

    def tested(self, stage: int, seen: float) -> None:
        """After this stage, this part of all test clips seen so far was recognised."""
        self.writer.add_scalar("accuracy/seen", seen, stage)
        self.writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self.writer.close()
