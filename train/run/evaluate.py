"""Evaluate on test clips after a stage: among all classes seen so far, without a task id."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stpr.train.datasets.annotations import Video
from stpr.train.learning.inputs import StageInputs
from stpr.train.model.stpr import StPR

TEST_BATCH: Final = 64
Integers: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Predicted:
    """Predictions for test clips, in the order of their stages."""

    labels: Integers  # (n,) true classes in learning order
    stages: Integers  # (n,) the stage that each label belongs to, from 1
    predicted: Integers  # (n,)
    routing: npt.NDArray[np.float32]  # (n, E)
    oracle: Integers  # (n,) predicted if only the expert of the clip's stage were used
    familiarity: Floats  # (n,)
    scores: Floats  # (n,) of the predicted class, as the device shows it
    uncalibrated: Floats  # (n,) the same with the recipe's temperature

    def routing_of(self, stage: int) -> list[float] | None:
        """Mean routing weight of the stage's clips for each expert; None without clips."""
        weights = self.routing[self.stages == stage]
        return weights.mean(axis=0).tolist() if len(weights) else None


@torch.no_grad()
def predict(model: StPR, tests: Mapping[int, StageInputs], *, temperature: float) -> Predicted | None:
    """Classify the test clips of stages, keyed by stage from 1; None without any. Several processes divide the clips.

    `temperature` is the recipe's.
    """
    model.eval()
    parts = [
        _scored(_predict(model, inputs, stage), temperature, model.head.combiner.temperature_factor)
        for stage, inputs in sorted(tests.items())
    ]
    return Predicted(*(np.concatenate(column) for column in zip(*parts, strict=True))) if parts else None


def _scored(found: tuple[Tensor, ...], temperature: float, factor: float) -> tuple[npt.NDArray[np.generic], ...]:
    """Compute the fields of Predicted from labels, stages, logits, routing, oracle logits and familiarity."""
    labels, stages, logits, routing, oracle, familiarity = found
    raw, calibrated = (
        torch.softmax(logits.double() / scale, dim=1).amax(dim=1) for scale in (temperature, temperature * factor)
    )
    columns = (labels, stages, logits.argmax(dim=1), routing, oracle.argmax(dim=1), familiarity.double())
    return tuple(column.numpy() for column in (*columns, calibrated, raw))


def _predict(model: StPR, inputs: StageInputs, stage: int) -> tuple[Tensor, ...]:
    processes, total = inputs.processes, len(inputs.labels)
    judged = [model.judge(batch.to(processes.device), stage) for batch in inputs.centre(batch=TEST_BATCH)]
    columns = (processes.join(torch.cat(rows), total).cpu() for rows in zip(*judged, strict=True))
    return (inputs.labels, torch.full((total,), stage), *columns)


def predictions_csv(videos: Sequence[Video], predicted: Integers, scores: Floats, names: Sequence[str]) -> str:
    """The content of `predictions.csv`: clip path, label, predicted label and its score in 0..1.

    Paths are absolute, since the exporter may run in another folder.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "predicted", "score"])
    for video, guess, score in zip(videos, predicted, scores, strict=True):
        writer.writerow([video.path.absolute(), video.label, names[guess], f"{score:.4f}"])
    return text.getvalue()
