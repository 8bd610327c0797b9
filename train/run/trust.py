"""How far a new expert is to be trusted: what it adds to the class scores on clips that neither has learnt from."""

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

Losses: TypeAlias = Callable[[float], Floats]  # of each held-out clip `(n,)`, by trust

MOST: Final = 100.0  # nats for a cosine of 1
SURE: Final = 1.64  # standard errors by which trust must pay: chance does so once in twenty times


@torch.no_grad()
def weigh_expert(model: StPR, held: StageClips) -> None:
    """Set the trust in the newest expert from held-out clips of its stage; none where it doesn't surely help."""
    combiner = model.head.combiner
    if not isinstance(combiner, Mixture) or not len(model.head.experts):
        return
    features, offset = held.centre.features(), model.head.classes - len(held.classes)
    scores = combiner.statistics.log_likelihoods(features)[:, offset:].double()
    said = combiner.said(model.head.ask(features))[:, offset:].double()
    labels = held.labels_from(offset)

    def losses(trust: float) -> Floats:
        found: Floats = F.cross_entropy(scores + trust * said, labels, reduction="none").cpu().numpy()
        return found

    combiner.trust[-1] = surely_better(losses)


def surely_better(losses: Losses) -> float:
    """The trust of least mean loss, which is convex in it; 0 unless clips lose less by it, by SURE standard errors."""
    from scipy.optimize import minimize_scalar  # imported late: it costs time that other runs save

    def cost(trust: float) -> float:
        return float(losses(trust).mean()) + PRIOR * (trust / UNKNOWN) ** 2 / 2

    found = minimize_scalar(cost, bounds=(0.0, MOST), method="bounded")
    gained = losses(0.0) - losses(float(found.x))
    if len(gained) < 2 or gained.mean() <= SURE * gained.std(ddof=1) / math.sqrt(len(gained)):
        return 0.0
    return float(found.x)
