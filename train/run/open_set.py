"""Known or unknown: a threshold of familiarity for each stage, set on held-out training clips, and its figures.

A share of a stage's training clips is held out, as strange to the others as may be. When the stage is learnt, their
familiarity says what its threshold must be; then the clip statistics take them in as well, and they are gone with the
rest of the stage. What is kept of them is the threshold. Of people never filmed no clip can be held out: for their sake
it is lowered as far as the clips of classes left out allow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from stpr.runtime.contract.manifest import UnknownSpec
from stpr.train.learning.stage_clips import StageClips
from stpr.train.model.scores.samples import joined
from stpr.train.model.scores.statistics import ClipScores, ClipStatistics
from stpr.train.model.stpr import StPR
from stpr.train.run.evaluate import Predicted
from stpr.train.run.open_set_metrics import Floats, Judged, UnknownFigures, figures_of
from stpr.train.settings.learning import UnknownSettings

BATCH: Final = 256
SEVERAL: Final = 4  # recordings of a class of which whole ones can be spared
FEWEST: Final = 3  # held-out clips that a threshold is set on, and clips of a class that are left to learn from


def held_out(labels: Tensor, recordings: Tensor, share: float, *, seed: int) -> Tensor:
    """Which clips `(n,)` are held out: of each class the share, at least one, but FEWEST or more are left.

    A neighbour of a clip that was learnt says little of another day. So whole recordings are held out where a class has
    SEVERAL, else the end of each; of one recording without an order, that is any of its clips.
    """
    held = torch.zeros(len(labels), dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    for label in sorted(set(labels.tolist())):
        rows = torch.nonzero(labels == label)[:, 0]
        count = min(max(1, round(share * len(rows))), len(rows) - FEWEST) if share > 0 else 0
        held[_strangest(rows, recordings[rows], generator)[: max(0, count)]] = True
    return held


def _strangest(rows: Tensor, recordings: Tensor, generator: torch.Generator) -> Tensor:
    """The rows of a class `(n,)`, those that are to be held out first."""
    parts = [rows[recordings == recording].flip(0) for recording in torch.unique(recordings)]
    if len(parts) >= SEVERAL:
        return torch.cat([parts[place] for place in torch.randperm(len(parts), generator=generator)])
    depths = torch.cat([torch.arange(len(part)) / len(part) for part in parts])
    return torch.cat(parts)[depths.argsort(stable=True)]


def take_in(statistics: ClipScores, parts: Sequence[StageClips], offset: int) -> None:
    """Let the statistics see the whole stage, the held-out clips too; `offset` is its first class's place."""
    samples = joined([part.samples(offset, draws=statistics.settings.draws) for part in parts])
    statistics.update(samples, len(parts[0].classes))


def lower_bound(scores: Floats, recall: float) -> float | None:
    """What another clip's score exceeds with probability `recall` (normal scores, Student's t); None for too few."""
    if len(scores) < FEWEST:
        return None
    from scipy import stats  # imported late: it costs half a second that a run without thresholds saves

    quantile = stats.t.ppf(recall, len(scores) - 1)
    return float(scores.mean() - quantile * scores.std(ddof=1) * math.sqrt(1 + 1 / len(scores)))


@torch.no_grad()
def learn_threshold(model: StPR, held: StageClips, *, recall: float) -> float | None:
    """The threshold of the newest stage, from its held-out clips; None for too few.

    Their random draws help out only there: they look stranger than any clip to come, and let nearly all pass.
    """
    statistics, found = model.head.combiner.statistics, []
    few = len(held.inputs.labels) < FEWEST
    samples = held.samples(0, draws=few and statistics is not None and bool(statistics.settings.draws))
    for features in torch.split(samples.features, BATCH):
        logits, _ = model.head(features)
        found.append(model.head.combiner.familiarity(features, logits))
    return lower_bound(torch.cat(found).double().cpu().numpy(), recall)


@torch.no_grad()
def lenient(
    threshold: float | None, statistics: ClipScores, parts: Sequence[StageClips], lenience: float
) -> float | None:
    """A threshold lowered for people never filmed, who look less familiar than held-out clips of the same people.

    Only by directions, and only as far as a share `lenience` of the newest stage's clips would pass if their class had
    never been learnt. `statistics` have learnt all of its `parts`.
    """
    if not lenience or not isinstance(statistics, ClipStatistics) or not statistics.knows_by_direction:
        return threshold
    features = torch.cat([part.centre.features() for part in parts])
    labels = torch.cat([part.labels_from(0) for part in parts])
    found = [statistics.familiar_to_others(features[labels == label], label) for label in sorted(set(labels.tolist()))]
    bound = float(torch.cat(found).quantile(1 - lenience))
    return bound if threshold is None else min(threshold, bound)


def spec_of(model: StPR, settings: UnknownSettings, thresholds: Sequence[float | None]) -> UnknownSpec | None:
    """The thresholds as checkpoint and manifest carry them; None where no clips are held out."""
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
