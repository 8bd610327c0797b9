"""Fit the weight of a new expert's scores beside the class scores, on held-out clips that neither was trained on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, TypeAlias

import torch
from torch.nn import functional as F

from stpr.train.learning.stage_clips import StageClips
from stpr.train.model.combiners.mixture import Mixture
from stpr.train.model.scores.reliability import PRIOR, UNKNOWN
from stpr.train.model.stpr import StPR
from stpr.train.run.open_set_metrics import Floats

Losses: TypeAlias = Callable[[float], Floats]  # trust -> loss of each held-out clip `(n,)`

MOST: Final = 100.0  # upper limit, nats for a cosine of 1
SURE: Final = 1.64  # standard errors by which the loss must improve: one-sided test at 5 %


@torch.no_grad()
def fit_trust(model: StPR, held: StageClips) -> None:
    """Set the trust in the newest expert from held-out clips of its stage; 0 unless it helps significantly."""
    combiner = model.head.combiner
    if not isinstance(combiner, Mixture) or not len(model.head.experts):
        return
    features, offset = held.centre.features(), model.head.classes - len(held.classes)
    scores = combiner.statistics.log_likelihoods(combiner.read(features))[:, offset:].double()
    answers = combiner.expert_scores(model.head.ask(features))[:, offset:].double()
    labels = held.labels_from(offset)

    def losses(trust: float) -> Floats:
        found: Floats = F.cross_entropy(scores + trust * answers, labels, reduction="none").cpu().numpy()
        return found

    combiner.trust[-1] = significant_trust(losses)


def significant_trust(losses: Losses) -> float:
    """The trust that minimises the loss (convex); 0 unless it reduces the loss by SURE standard errors.

    Held-out clips show the people who were filmed, and few clips show little: regularised like the weights of views.
    """
    from scipy.optimize import minimize_scalar  # imported late: slow to load, and not every run needs it

    def cost(trust: float) -> float:
        return float(losses(trust).sum()) + PRIOR * (trust / UNKNOWN) ** 2 / 2

    found = minimize_scalar(cost, bounds=(0.0, MOST), method="bounded")
    gained = losses(0.0) - losses(float(found.x))
    if len(gained) < 2 or gained.mean() <= SURE * gained.std(ddof=1) / math.sqrt(len(gained)):
        return 0.0
    return float(found.x)
