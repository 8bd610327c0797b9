"""The test after a stage: every class seen so far competing, without a task id."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from stpr.train.datasets.annotations import Video
from stpr.train.learning.inputs import StageInputs
from stpr.train.model.stpr import StPR

TEST_BATCH = 64
Integers: TypeAlias = npt.NDArray[np.int64]


@dataclass(slots=True)
class Tested:
    """Predictions for what test clips there are of the stages seen so far, in order of stage and path."""

    videos: list[Video]
    labels: Integers
    stages: Integers  # the stage each label belongs to, from 1
    predicted: Integers
    routing: npt.NDArray[np.float32]  # (n, E)
    guided: Integers  # predicted if a router chose the right expert alone

    def routing_of(self, stage: int) -> list[float] | None:
        """The mean weight that the stage's clips give to each expert; None without clips."""
        weights = self.routing[self.stages == stage]
        return weights.mean(axis=0).tolist() if len(weights) else None


@torch.no_grad()
def classify(model: StPR, inputs: StageInputs, stage: int) -> tuple[Integers, npt.NDArray[np.float32], Integers]:
    """Of the centre views of a stage's clips: predicted classes `(n,)`, routing `(n, E)`, classes by the right expert.

    Several processes share the clips out.
    """
    processes, total = inputs.processes, len(inputs.labels)
    answers = [model.judge(batch.to(processes.device), stage) for batch in inputs.centre(batch=TEST_BATCH)]
    logits, routing, led = (processes.join(torch.cat(parts), total).cpu() for parts in zip(*answers, strict=True))
    return logits.argmax(dim=1).numpy(), routing.numpy(), led.argmax(dim=1).numpy()


def predictions_csv(tested: Tested, names: list[str]) -> str:
    """`predictions.csv`: clip path, label, predicted label. Absolute paths: the exporter may run elsewhere."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "predicted"])
    for video, guess in zip(tested.videos, tested.predicted, strict=True):
        writer.writerow([video.path.absolute(), video.label, names[guess]])
    return text.getvalue()
