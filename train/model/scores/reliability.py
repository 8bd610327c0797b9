"""Learn the weight of each view from how well it does with the other half of the training clips, without storing clips.

Artificial test clips for one half are made from the other: a class's mean in the other half, shifted by the difference
between the halves of another class. Classified by the first half's means, they show how well a view generalises; a
view of pure noise gets weight 0. The weights minimise the joint cross-entropy of the views' cosines, so redundant views
share their weight, and scores are calibrated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from stpr.train.model.directions import unit

UNKNOWN: Final = 10.0  # the weight of each view if there are too few classes or clips to learn it
PRIOR: Final = 10.0  # the L2 regularisation counts like the cross-entropy of so many independent clips
MOST_PROBES: Final = 64  # most classes whose differences are added to a class's mean


def weigh(views: Sequence[tuple[Tensor, Tensor]], units: Tensor) -> Tensor:
    """The weight of each view `(V,)`, not negative.

    `views` have whitened means of halves `(2, C, S)` and their differences `(C, S)`; `units` `(C, 2)` is the number of
    independent clips (or groups of clips) in each half.
    """
    usable = units.amin(dim=1) > 0
    if int(usable.sum()) < 3:
        return torch.full((len(views),), UNKNOWN)
    apart = torch.stack([steps.norm(dim=1) for _, steps in views]).sum(dim=0)
    # The choice of other classes must not depend on the order in which they were learnt.
    usable = torch.tensor([row for row in apart.argsort().tolist() if usable[row]])
    counts = units[usable].double()
    spread = 1 / (1 / counts).sum(dim=1).sqrt()  # of one clip, from that of a difference of two means
    cosines = torch.stack([_probe(halves[:, usable], apart[usable] * spread[:, None]) for halves, apart in views])
    return _fit(cosines, PRIOR / float(counts.sum()))


def _probe(halves: Tensor, steps: Tensor) -> Tensor:
    """Cosines of artificial clips with the class means of the other half, `(rows, C)`, own class first.

    The class whose difference was added is excluded by -inf.
    """
    classes, rows = len(steps), []
    others = [_spread(classes, own) for own in range(classes)]
    for known, strange in ((halves[0], halves[1]), (halves[1], halves[0])):
        targets = unit(known)
        for own, lenders in enumerate(others):
            clips = torch.cat([strange[own] + steps[lenders], strange[own] - steps[lenders]])
            found = unit(clips) @ targets.T
            found[torch.arange(len(clips)), lenders.repeat(2)] = -torch.inf
            order = [own, *(row for row in range(classes) if row != own)]
            rows.append(found[:, order])
    return torch.cat(rows)


def _spread(classes: int, own: int) -> Tensor:
    """The other classes, or an even selection of MOST_PROBES."""
    others = torch.tensor([row for row in range(classes) if row != own])
    every = max(1.0, len(others) / MOST_PROBES)
    return others[torch.arange(0, len(others), every).long()]


def _fit(cosines: Tensor, regularised: float) -> Tensor:
    """Weights `(V,)` that minimise the cross-entropy of cosines `(V, rows, C)`, the right class first; convex.

    Few clips show little, so their views share the weight: `regularised` is that of its square, in units of UNKNOWN.
    """
    from scipy.optimize import minimize  # imported late: slow to load, and other methods don't need it

    values = cosines.cpu().numpy()
    counted = np.isfinite(values[0])
    values = np.where(counted, values, 0.0)
    own = values[:, :, 0]

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = np.where(counted, np.tensordot(weights, values, axes=1), -np.inf)
        top = scores.max(axis=1, keepdims=True)
        powers = np.exp(scores - top)
        total = powers.sum(axis=1, keepdims=True)
        entropy = (top + np.log(total))[:, 0] - weights @ own
        slope = (values * (powers / total)).sum(axis=2).mean(axis=1) - own.mean(axis=1)
        prior = regularised * weights / UNKNOWN**2
        return float(entropy.mean() + prior @ weights / 2), slope + prior

    start = np.full(len(values), UNKNOWN)
    found = minimize(loss, start, jac=True, bounds=[(0, None)] * len(start), method="L-BFGS-B")
    return torch.from_numpy(np.asarray(found.x, dtype=np.float32))
