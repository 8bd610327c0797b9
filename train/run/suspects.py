"""Training clips whose label is doubtful: the clips that are most like them are all of one other class.

It is told while a stage's clips are in memory anyway. What is kept are a few names for the report, no picture.
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
LEAST_NEIGHBOURS: Final = 3  # of small classes half would already be too many
FEWEST: Final = 4  # clips of a class, this one among them: of fewer, neighbours say little
MOST: Final = 24  # that are kept of a stage, however many clips it has
AT_ONCE: Final = 1024  # clips that are compared with all others


@torch.no_grad()
def doubts(model: StPR, parts: Sequence[StageClips], rows: Tensor) -> list[tuple[int, int]]:
    """Clips to look at, and the class, from 0 within the stage, that each is like: the clearest first, MOST at most.

    `rows` `(n,)` say where the parts' clips are among all of the stage. They are compared by what the statistics
    describe, each view as far as it is believed once the stage is learnt; without statistics nothing is doubted.
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
    """Every number in units of its deviation over all clips.

    Not whitened by the scatter within classes, as for decisions: a clip of the wrong class widens that in the very
    direction in which it lies wrong, so most would not be found.
    """
    return (described - described.mean(dim=0)) / described.std(dim=0).clamp_min(1e-6)


def _weight(scores: ClipStatistics, place: int) -> float:
    """How far a view is believed."""
    return float(scores.shares[place]) if scores.learns_weights else 1.0


def doubtful(described: Tensor, labels: Tensor) -> list[tuple[int, int]]:
    """Rows of `described` `(n, S)`, and the class that all their neighbours are of; the nearest neighbours first.

    There are NEIGHBOURS of them, or fewer where that would be more than half of the smallest class.
    """
    if not described.any():
        return []  # nothing tells these clips apart
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
