"""Learn from a stage's clips how to detect events: fragments of its actions, and the least motion they have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from stpr.train.learning.inputs import FrozenFeatures
from stpr.train.learning.stage_clips import StageClips
from stpr.train.model.scores.statistics import ClipScores, ClipStatistics
from stpr.train.model.scores.wholeness import PART, Fragments, fragments, held_still, recognised_by_look, slid
from stpr.train.run.open_set import FEWEST, lower_bound

RECALL: Final = 0.99  # of a class's own clips; rejects stillness only, unfamiliar clips have their own threshold
TINY: Final = 1e-12  # so that the logarithm is finite for clips without any motion


@torch.no_grad()
def learn_fragments(scores: ClipScores | None, parts: Sequence[StageClips], classes: int, *, seed: int) -> None:
    """Add the fragments of the newest stage to the scores, if they use fragments; `classes` counts all so far."""
    if not isinstance(scores, ClipStatistics) or scores.wholeness is None:
        return
    new = len(parts[0].classes)
    features = torch.cat([part.centre.features() for part in parts])
    labels = torch.cat([part.labels_from(classes - new) for part in parts])
    made = fragments(features, _others(features, seed), scores.describe.held_still)
    described = Fragments(*(scores.describe(part) for part in made))
    moved, rested = (energy_floors(scores.describe.energy(part), labels, new) for part in (features, made.coming))
    look = recognised_by_look(_alike(scores, features, made.still), labels, new)
    # Classes recognised by appearance may be still half of the time, but not all of it.
    scores.wholeness.update(described, labels, torch.where(look.cpu(), rested, moved), look)
    scores.refresh()


@torch.no_grad()
def fit_evidence(scores: ClipScores | None, held: StageClips, target: ClipScores, *, seed: int) -> None:
    """Fit the evidence (log odds of a whole action against a fragment) on clips that the scores were not trained on.

    For classes recognised by appearance, fragments that look almost the same count as neither. Background windows count
    as fragments, since none shows a whole action. The weights are written to `target`, the same scores before the
    stage; with too few clips it keeps its weights.
    """
    if not isinstance(scores, ClipStatistics) or not isinstance(target, ClipStatistics):
        return
    if scores.wholeness is None or target.wholeness is None:
        return
    features, labels = held.centre.features(), held.labels_from(0)
    hold = scores.describe.held_still
    look = recognised_by_look(_alike(scores, features, held_still(features, hold)), labels, scores.classes)
    clips, whole, mostly = slid(features, _others(features, seed), hold)
    pointed, length, cosines = scores.resemble(scores.read(clips))
    best, meant = cosines.argmax(dim=1), labels.repeat(len(clips) // len(labels))
    counted = whole | ~((mostly > 1 - PART) & look[meant])
    right = (whole & (best == meant))[counted]
    numbers = scores.measure(pointed, length, cosines)[torch.arange(len(best)), best][counted]
    if (strange := _background(scores, held)) is not None:
        numbers = torch.cat([numbers, strange])
        right = torch.cat([right, right.new_zeros(len(strange))])
    if min(int(right.sum()), int((~right).sum())) >= FEWEST:
        target.wholeness.calibrate(numbers, right)


def _alike(scores: ClipStatistics, clips: Tensor, others: Tensor) -> Tensor:
    """Cosine similarity of clips `(n, T, D)` with `others` `(n, T, D)`, pair by pair: `(n,)`."""
    return (scores.resemble(scores.read(clips))[0] * scores.resemble(scores.read(others))[0]) @ scores.shares


def _background(scores: ClipStatistics, held: StageClips) -> Tensor | None:
    """The four evidence inputs `(m, 4)` of background windows with enough motion for their most similar class."""
    inputs = held.inputs
    if not isinstance(inputs, FrozenFeatures) or inputs.background is None or scores.wholeness is None:
        return None
    features = held.encoder(inputs.background.to(held.encoder.mean.device))
    pointed, length, cosines = scores.resemble(scores.read(features))
    best = cosines.argmax(dim=1)
    numbers = scores.measure(pointed, length, cosines)[torch.arange(len(best)), best]
    return numbers[scores.describe.energy(features) > scores.wholeness.floors[best]]


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
