"""None of the known actions: a threshold for each stage, set on clips that nothing was learnt from, and its figures.

A share of a stage's training clips is held out. When the stage is learnt, their familiarity says what its threshold
must be; then the clip statistics take them in as well, and they are gone with the rest of the stage. What is kept of
them is the threshold.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stpr.runtime.contract.manifest import UnknownSpec
from stpr.train.learning.fit import Fit, Terms
from stpr.train.learning.inputs import StageInputs
from stpr.train.methods.stage_start import encode_centre
from stpr.train.model.scores.statistics import ClipScores
from stpr.train.model.stpr import StPR
from stpr.train.run.open_set_metrics import Floats, Judged, UnknownFigures, figures_of
from stpr.train.settings.learning import UnknownSettings
from stpr.train.settings.recipe import Recipe

Integers: TypeAlias = npt.NDArray[np.int64]
Inputs: TypeAlias = Sequence[StageInputs]
Learn: TypeAlias = Callable[[StPR, tuple[str, ...], StageInputs, Recipe, Fit], list[Terms]]
FEWEST: Final = 3  # held-out clips that a threshold is set on, and clips of a class that are left to learn from
BATCH: Final = 256


def learn_and_calibrate(
    learn: Learn, model: StPR, classes: tuple[str, ...], inputs: StageInputs, recipe: Recipe, how: Fit
) -> tuple[list[Terms], float | None]:
    """Learn a stage from all clips but the held-out ones; returns the loss curves and the stage's threshold."""
    held = held_out(inputs.labels, recipe.unknown.holdout, seed=how.seed)
    if not held.any():
        return learn(model, classes, inputs, recipe, how), None
    kept, aside, before = inputs.take(~held), inputs.take(held), copy.deepcopy(model.head.statistics)
    del inputs
    curves = learn(model, classes, kept, recipe, how)
    threshold = lower_bound(_familiarity(model.eval(), aside)[0], recipe.unknown.recall)
    if before is not None:
        _take_in(model, before, [kept, aside], classes)
    return curves, threshold


def held_out(labels: Tensor, share: float, *, seed: int) -> Tensor:
    """Which clips `(n,)` are held out: of each class the share, at least one, but FEWEST or more are left."""
    held = torch.zeros(len(labels), dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    for label in sorted(set(labels.tolist())):
        rows = torch.nonzero(labels == label)[:, 0]
        count = min(max(1, round(share * len(rows))), len(rows) - FEWEST) if share > 0 else 0
        held[rows[torch.randperm(len(rows), generator=generator)[: max(0, count)]]] = True
    return held


def lower_bound(scores: Floats, recall: float) -> float | None:
    """What another clip's score exceeds with probability `recall` (normal scores, Student's t); None for too few."""
    if len(scores) < FEWEST:
        return None
    from scipy import stats  # imported late: it costs half a second that a run without thresholds saves

    quantile = stats.t.ppf(recall, len(scores) - 1)
    return float(scores.mean() - quantile * scores.std(ddof=1) * math.sqrt(1 + 1 / len(scores)))


def spec_of(model: StPR, settings: UnknownSettings, thresholds: Sequence[float | None]) -> UnknownSpec | None:
    """What checkpoint and manifest carry; None where nothing is held out."""
    if settings.holdout == 0:
        return None
    return UnknownSpec(score=model.head.score, recall=settings.recall, thresholds=tuple(thresholds))


@torch.no_grad()
def measure(model: StPR, spec: UnknownSpec, owners: Sequence[int], *, known: Inputs, strange: Inputs) -> UnknownFigures:
    """Figures on test clips of the classes learnt and of those to come.

    `owners` are the stages, from 0, in which the classes were learnt.
    """
    lows = np.array([-math.inf if low is None else low for low in spec.thresholds])[list(owners)]
    familiar, strangers = (_judged(model, lows, inputs) for inputs in (known, strange))
    return figures_of(familiar, strangers, recall=spec.recall)


@torch.no_grad()
def _take_in(model: StPR, before: ClipScores, parts: Inputs, classes: tuple[str, ...]) -> None:
    """Let the clip statistics see the stage once more, with the held-out clips."""
    features = torch.cat([encode_centre(model.encoder, part) for part in parts])
    labels = torch.cat([part.labels for part in parts]).to(features.device)
    model.head.statistics = before
    before.observe(before.describe(features), labels - (len(model.head.class_vectors) - len(classes)), len(classes))


def _judged(model: StPR, lows: Floats, inputs: Inputs) -> Judged:
    found = [_familiarity(model, part) for part in inputs]
    scores = np.concatenate([np.empty(0), *(familiar for familiar, _ in found)])
    likely = np.concatenate([np.empty(0, np.int64), *(best for _, best in found)])
    return Judged(scores, scores >= lows[likely])


@torch.no_grad()
def _familiarity(model: StPR, inputs: StageInputs) -> tuple[Floats, Integers]:
    """Familiarity `(n,)` and likeliest class `(n,)` of the centre views."""
    familiar, likely = [], []
    for features in torch.split(encode_centre(model.encoder, inputs), BATCH):
        logits, _ = model.head(features)
        familiar.append(model.head.familiarity(features, logits).double().cpu().numpy())
        likely.append(logits.argmax(dim=1).cpu().numpy())
    return np.concatenate(familiar), np.concatenate(likely)
