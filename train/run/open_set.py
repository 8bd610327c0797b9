"""Known or unknown: a threshold of familiarity for each stage, set on held-out training clips, and its figures.

A share of a stage's training clips is held out. When the stage is learnt, their familiarity says what its threshold
must be; then the clip statistics take them in as well, and they are gone with the rest of the stage. What is kept of
them is the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from stpr.runtime.contract.manifest import UnknownSpec
from stpr.train.model.stpr import StPR
from stpr.train.run.evaluate import Predicted
from stpr.train.run.open_set_metrics import Floats, Judged, UnknownFigures, figures_of
from stpr.train.settings.learning import UnknownSettings

FEWEST: Final = 3  # held-out clips that a threshold is set on, and clips of a class that are left to learn from


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
    return UnknownSpec(score=model.head.combiner.score, recall=settings.recall, thresholds=tuple(thresholds))


def measure(spec: UnknownSpec, known: Predicted, strange: Predicted | None, sizes: Sequence[int]) -> UnknownFigures:
    """Figures on test clips of the classes learnt, `sizes` of them in each stage, and of those to come."""
    owners = np.repeat(np.arange(len(sizes)), sizes)
    lows = np.array([-math.inf if low is None else low for low in spec.thresholds])[owners]  # (C,)
    return figures_of(_judged(known, lows), _judged(strange, lows), recall=spec.recall)


def _judged(clips: Predicted | None, lows: Floats) -> Judged:
    if clips is None:
        return Judged(np.empty(0), np.empty(0, np.bool_))
    return Judged(clips.familiarity, clips.familiarity >= lows[clips.predicted])
