"""Find training clips with doubtful labels: clips whose nearest neighbours all belong to one other class.

This is done while a stage's clips are in memory. Only a few file names are stored for the report, no pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from stpr.train.learning.stage_clips import StageClips
from stpr.train.model.scores.statistics import ClipStatistics
from stpr.train.model.stpr import StPR

NEIGHBOURS: Final = 5
LEAST_NEIGHBOURS: Final = 3  # even in small classes
FEWEST: Final = 4  # clips of a class, for neighbours to be meaningful
MOST: Final = 24  # listed per stage
AT_ONCE: Final = 1024  # clips compared with all others in one batch


@torch.no_grad()
def doubts(model: StPR, parts: Sequence[StageClips], rows: Tensor) -> list[tuple[int, int]]:
    """Rows of doubtful clips and the class (from 0 within the stage) that each resembles: clearest first, at most MOST.

    `rows` `(n,)` map the parts' clips to the stage's clips. Clips are compared by the descriptions of the statistics,
    each view with its learnt weight; empty without statistics.
    """
    scores = model.head.combiner.statistics
    if not isinstance(scores, ClipStatistics):
        return []
    features = torch.cat([part.centre.features() for part in parts])
    labels = torch.cat([part.labels_from(model.head.classes - len(part.classes)) for part in parts])
    described = scores.describe(features)
    views = [
        F.normalize(_spread_alike(described[:, place]), dim=1) * (_weight(scores, place.start) ** 0.5)
        for place in scores.places
    ]
    return [(int(rows[row]), like) for row, like in doubtful(torch.cat(views, dim=1), labels)[:MOST]]


def _spread_alike(described: Tensor) -> Tensor:
    """Scale every dimension by its standard deviation over all clips.

    Whitening by the within-class scatter, as for decisions, would hide most wrong labels, since each widens the scatter
    in the direction in which it is wrong.
    """
    return (described - described.mean(dim=0)) / described.std(dim=0).clamp_min(1e-6)


def _weight(scores: ClipStatistics, place: int) -> float:
    """The learnt weight of a view."""
    return float(scores.shares[place]) if scores.learns_weights else 1.0


def doubtful(described: Tensor, labels: Tensor) -> list[tuple[int, int]]:
    """Rows of `described` `(n, S)` whose neighbours all belong to one other class, and that class; nearest first.

    NEIGHBOURS are compared, or fewer if that would be more than half of the smallest class.
    """
    if not described.any():
        return []  # all clips are equal
    counts = torch.bincount(labels)
    enough = counts[labels] >= FEWEST
    if not int(enough.sum()) or len(counts) < 2:
        return []
    count = min(NEIGHBOURS, max(LEAST_NEIGHBOURS, int(counts[counts >= FEWEST].min()) // 2))
    found = []
    for start in range(0, len(labels), AT_ONCE):
        alike = described[start : start + AT_ONCE] @ described.T
        own = torch.arange(start, start + len(alike), device=alike.device)
        alike[own - start, own] = -torch.inf
        near, places = alike.topk(count, dim=1)
        theirs = labels[places]
        odd = (theirs == theirs[:, :1]).all(dim=1) & (theirs[:, 0] != labels[own]) & enough[own]
        for place in torch.nonzero(odd)[:, 0].tolist():
            found.append((float(near[place].mean()), start + place, int(theirs[place, 0])))
    return [(row, like) for _, row, like in sorted(found, reverse=True)]
