"""Temperature calibration of scores (Guo et al., 2017): of clips with a score of 90 %, nine in ten should be right.

One temperature for all classes, fitted on held-out clips of each stage over all classes so far; the stages'
temperatures are averaged, so no clip has to be kept.
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
FARTHEST: Final = 3.0  # limit of a change of the temperature, as a power of e


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Expected calibration error on test clips after one stage, with the recipe's and with the fitted temperature."""

    before: float
    after: float


@torch.no_grad()
def calibrate(model: StPR, held: StageClips, *, temperature: float) -> None:
    """Update the temperature with the held-out clips of the newest stage; too few leave it unchanged."""
    from scipy.optimize import minimize_scalar  # imported late: slow to load, and not every run needs it

    labels = held.labels_from(0)
    if len(labels) < FEWEST:
        return
    logits = model.head(held.centre.features())[0].double() / temperature

    def cost(power: float) -> float:
        # Regularise towards the old temperature with the weight of one clip, since few clips are noisy.
        return float(F.cross_entropy(logits * math.exp(-power), labels)) + power**2 / len(labels)

    found = minimize_scalar(cost, bounds=(-FARTHEST, FARTHEST), method="bounded")
    model.head.combiner.calibrate(float(found.x))


def calibration_error(scores: Floats, right: Booleans) -> float:
    """Expected calibration error of top scores `(n,)`: mean |score - accuracy| over BINS bins."""
    places = np.minimum((scores * BINS).astype(int), BINS - 1)
    off = [abs(scores[places == place].sum() - right[places == place].sum()) for place in range(BINS)]
    return float(sum(off) / len(scores))
