"""Scores that mean something: of clips shown with 90 %, nine in ten are right (Guo et al., 2017).

One temperature for all classes, learnt on held-out clips of each stage with every class so far competing; the stages'
temperatures are averaged, so no stage is asked twice and no clip is kept.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np
import torch
from torch.nn import functional as F

from stpr.train.learning.stage_clips import StageClips
from stpr.train.model.stpr import StPR
from stpr.train.run.open_set import FEWEST
from stpr.train.run.open_set_metrics import Booleans, Floats

BINS: Final = 15
FARTHEST: Final = 3.0  # powers of e that a temperature may move by


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Expected calibration error of the scores of test clips after one stage, by the recipe's temperature and ours."""

    before: float
    after: float


@torch.no_grad()
def calibrate(model: StPR, held: StageClips, *, temperature: float) -> None:
    """Take the held-out clips of the newest stage into the temperature; too few leave it as it is."""
    from scipy.optimize import minimize_scalar  # imported late: it costs time that other runs save

    labels = held.labels_from(0)
    if len(labels) < FEWEST:
        return
    logits = model.head(held.centre.features())[0].double() / temperature

    def cost(power: float) -> float:
        # Few clips say little: a clip's worth of belief in the temperature as it was.
        return float(F.cross_entropy(logits * math.exp(-power), labels)) + power**2 / len(labels)

    found = minimize_scalar(cost, bounds=(-FARTHEST, FARTHEST), method="bounded")
    model.head.combiner.calibrate(float(found.x))


def calibration_error(scores: Floats, right: Booleans) -> float:
    """Expected calibration error of the winners' scores `(n,)`: mean distance of score and accuracy over BINS bins."""
    places = np.minimum((scores * BINS).astype(int), BINS - 1)
    off = [abs(scores[places == place].sum() - right[places == place].sum()) for place in range(BINS)]
    return float(sum(off) / len(scores))
