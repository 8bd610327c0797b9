"""Learn from a stage's clips how to detect events: fragments of its actions, and the least motion they have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from stpr.train.learning.inputs import FrozenFeatures
from stpr.train.learning.stage_clips import StageClips
from stpr.train.model.scores.class_scores import ClipScores
from stpr.train.model.scores.groups import Groups, grouped
from stpr.train.model.scores.reading import Reading
from stpr.train.model.scores.statistics import ClipStatistics
from stpr.train.model.scores.wholeness import Fragments, fragments, recognised_by_look, slid
from stpr.train.run.open_set import FEWEST, lower_bound

RECALL: Final = 0.99  # of a class's own clips; rejects stillness only, unfamiliar clips have their own threshold
GROUPS: Final = 4  # means kept of the windows of background videos
TINY: Final = 1e-12  # so that the logarithm is finite for clips without any motion


@torch.no_grad()
def learn_fragments(scores: ClipScores | None, parts: Sequence[StageClips], classes: int, *, seed: int) -> None:
    """Add the fragments of the newest stage to the scores, if they use fragments; `classes` counts all so far.

    Means of the background, if there is one, are replaced by those that the newest scores see.
    """
    if not isinstance(scores, ClipStatistics) or scores.wholeness is None:
        return
    new = len(parts[0].classes)
    features = torch.cat([part.centre.features() for part in parts])
    labels = torch.cat([part.labels_from(classes - new) for part in parts])
    made = fragments(features, _others(features, seed), scores.describe.held_still)
    described = Fragments(*(scores.describe(part) for part in made))
    moved, rested = (energy_floors(scores.describe.energy(part), labels, new) for part in (features, made.coming))
    look = recognised_by_look(_more_alike(scores, features, described.still), labels, new)
    if not scores.describe.looks:
        look = torch.zeros_like(look)
    # Classes recognised by appearance may be still half of the time, but not all of it.
    scores.wholeness.update(described, labels, torch.where(look.cpu(), rested, moved), look)
    scores.refresh()
    if (found := _background(scores, parts[0], seed)) is not None:
        scores.wholeness.background = found.groups.means[torch.arange(GROUPS) % len(found.groups.means)]


@torch.no_grad()
def fit_evidence(scores: ClipScores | None, held: StageClips, target: ClipScores, *, seed: int) -> None:
    """Fit the evidence (log odds of a whole action against a fragment) on clips that the scores were not trained on.

    Classes recognised by appearance need no weights, so their windows count only if there are too few others.
    Background windows count as fragments, since none shows a whole action. The weights are written to `target`, the
    same scores before the stage; with too few clips it keeps its weights.
    """
    if not isinstance(scores, ClipStatistics) or not isinstance(target, ClipStatistics):
        return
    if scores.wholeness is None or target.wholeness is None:
        return
    features, labels = held.centre.features(), held.labels_from(0)
    hold = scores.describe.held_still
    clips, whole = slid(features, _others(features, seed), hold)
    read = scores.read(clips)
    cosines = scores.resemble(read)[2]
    best, meant = cosines.argmax(dim=1), labels.repeat(len(clips) // len(labels))
    right = whole & (best == meant)
    numbers = scores.measure(read)[torch.arange(len(best)), best]
    if (found := _background(scores, held, seed)) is not None and found.moves:
        strange, classes = _measure_background(scores, found)
        numbers, best = torch.cat([numbers, strange]), torch.cat([best, classes])
        right = torch.cat([right, right.new_zeros(len(strange))])
    moves = scores.wholeness.moving[best]
    for chosen in (moves, torch.ones_like(moves)):
        if min(int(right[chosen].sum()), int((~right)[chosen].sum())) >= FEWEST:
            target.wholeness.calibrate(numbers[chosen], right[chosen])
            return


def _more_alike(scores: ClipStatistics, clips: Tensor, still: Tensor) -> Tensor:
    """By how much clips `(n, T, D)` resemble their own stills, described `(n, S)`, more than the mean still: `(n,)`."""
    assert scores.wholeness is not None
    pointed = scores.resemble(scores.read(clips))[0]
    own, mean = (scores.weighted_directions(part) for part in (still, scores.wholeness.mean_still(still)[None]))
    return (pointed * (own - mean)).sum(dim=1)


class _Background(NamedTuple):
    """Background windows `(m, T, D)`, whether each moves enough for its most similar class, and their groups."""

    clips: Reading
    moves: bool
    groups: Groups


def _background(scores: ClipStatistics, part: StageClips, seed: int) -> _Background | None:
    """The windows that move enough for their most similar class; all if fewer than two do. None without background."""
    inputs, wholeness = part.inputs, scores.wholeness
    if not isinstance(inputs, FrozenFeatures) or inputs.background is None or wholeness is None:
        return None
    features = part.encoder(inputs.background.to(part.encoder.mean.device))
    best = scores.resemble(scores.read(features))[2].argmax(dim=1)
    moving = scores.describe.energy(features) > wholeness.floors[best]
    moves = int(moving.sum()) > 1
    clips = scores.read(features[moving] if moves else features)
    pointed = scores.resemble(clips)[0] * scores.shares.sqrt()  # whose products are the cosines of `resemble`
    return _Background(clips, moves, grouped(clips.described, pointed, GROUPS, seed=seed))


def _measure_background(scores: ClipStatistics, found: _Background) -> tuple[Tensor, Tensor]:
    """The evidence inputs `(m, N)` of background windows that move, and their most similar classes `(m,)`.

    Each is compared with the mean of its group without itself, which it would resemble for having a share in it.
    """
    assert scores.wholeness is not None
    pointed, length, cosines = scores.resemble(found.clips)
    own, rows = found.groups.own > 0, torch.arange(len(pointed))
    unlike = scores.unlike(pointed)
    halves, near = unlike[:, :-GROUPS], unlike[:, -GROUPS:][:, : own.shape[1]]
    without = (pointed * scores.weighted_directions(found.groups.without)).sum(dim=1, keepdim=True)
    unlike = torch.cat([halves, torch.where(own, without, near)], dim=1)
    best = cosines.argmax(dim=1)
    balance = scores.describe.balance(found.clips.features)
    return scores.wholeness.measure(unlike, length, cosines, balance)[rows, best], best


def energy_floors(energies: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The motion energy that a new clip of each class of a stage exceeds with probability RECALL: `(c,)`.

    `energies` `(n,)` are of training clips; `labels` `(n,)` count from 0 within the stage. Energies are modelled as
    log-normal, so a few clips suffice; 0 if there are too few.
    """
    found, own = np.log(energies.double().cpu().numpy() + TINY), labels.cpu().numpy()
    bounds = [lower_bound(found[own == label], RECALL) for label in range(classes)]
    return torch.tensor([0.0 if bound is None else float(np.exp(bound)) for bound in bounds])


def _others(features: Tensor, seed: int) -> Tensor:
    """A permutation of the clips that pairs each with a different one."""
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
    return features[order.to(features.device)]
