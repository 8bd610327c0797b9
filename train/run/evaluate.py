"""The test after a stage: every class seen so far competing, without a task id. Each test clip is encoded once."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from stpr.train.datasets.annotations import Video
from stpr.train.learning.inputs import StageInputs
from stpr.train.model.stpr import StPR

TEST_BATCH: Final = 64
Integers: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Predicted:
    """The network's answers for some test clips, in the order of their stages."""

    labels: Integers  # (n,) true classes in learning order
    stages: Integers  # (n,) the stage that each label belongs to, from 1
    predicted: Integers  # (n,)
    routing: npt.NDArray[np.float32]  # (n, E)
    oracle: Integers  # (n,) predicted if a router always chose the right expert, and it alone
    familiarity: Floats  # (n,)

    def routing_of(self, stage: int) -> list[float] | None:
        """The mean weight that the stage's clips give to each expert; None without clips."""
        weights = self.routing[self.stages == stage]
        return weights.mean(axis=0).tolist() if len(weights) else None


@torch.no_grad()
def predict(model: StPR, tests: Mapping[int, StageInputs]) -> Predicted | None:
    """Classify the test clips of stages, by number from 1; None without any. Several processes share the clips out."""
    parts = [_predict(model.eval(), inputs, stage) for stage, inputs in sorted(tests.items())]
    return Predicted(*(np.concatenate(column) for column in zip(*parts, strict=True))) if parts else None


def _predict(model: StPR, inputs: StageInputs, stage: int) -> tuple[npt.NDArray[np.generic], ...]:
    processes, total = inputs.processes, len(inputs.labels)
    judged = [model.judge(batch.to(processes.device), stage) for batch in inputs.centre(batch=TEST_BATCH)]
    logits, routing, oracle, familiarity = (
        processes.join(torch.cat(rows), total).cpu() for rows in zip(*judged, strict=True)
    )
    return (
        inputs.labels.numpy(),
        np.full(total, stage),
        logits.argmax(dim=1).numpy(),
        routing.numpy(),
        oracle.argmax(dim=1).numpy(),
        familiarity.double().numpy(),
    )


def predictions_csv(videos: Sequence[Video], predicted: Integers, names: Sequence[str]) -> str:
    """`predictions.csv`: clip path, label, predicted label. Absolute paths: the exporter may run elsewhere."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "predicted"])
    for video, guess in zip(videos, predicted, strict=True):
        writer.writerow([video.path.absolute(), video.label, names[guess]])
    return text.getvalue()
