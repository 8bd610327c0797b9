"""Open-set recognition: set a familiarity threshold per stage on held-out training clips, and evaluate it.

A share of a stage's training clips is held out, from other recordings if possible. After training, the threshold is set
from their familiarity; then the clip statistics learn them too, and they are dropped with the rest of the stage. For
people who were never filmed no clips can be held out, so the threshold is lowered as far as leaving out whole classes
shows to be safe.
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
from stpr.train.model.scores.class_scores import ClipScores
from stpr.train.model.scores.samples import joined
from stpr.train.model.scores.statistics import ClipStatistics
from stpr.train.model.stpr import StPR
from stpr.train.run.evaluate import Predicted
from stpr.train.run.open_set_metrics import Floats, Judged, UnknownFigures, figures_of
from stpr.train.settings.learning import UnknownSettings

BATCH: Final = 256
SEVERAL: Final = 4  # recordings of a class, from which on whole recordings are held out
FEWEST: Final = 3  # held-out clips needed for a threshold, and clips of a class that stay for training


def held_out(labels: Tensor, recordings: Tensor, share: float, *, seed: int) -> Tensor:
    """Choose the clips to hold out, as a mask `(n,)`: `share` of each class, at least one, leaving at least FEWEST.

    Clips next to a training clip in the same recording are too similar to it. So whole recordings are held out if a
    class has SEVERAL, even if they are more than that share, up to 1/SEVERAL of the class; else the end of each. Clips
    without an order are chosen at random.
    """
    held = torch.zeros(len(labels), dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    for label in sorted(set(labels.tolist())):
        rows = torch.nonzero(labels == label)[:, 0]
        count = min(max(1, round(share * len(rows))), len(rows) - FEWEST) if share > 0 else 0
        if count > 0:
            parts = [rows[recordings[rows] == recording] for recording in torch.unique(recordings[rows])]
            held[_whole(parts, count, generator) if len(parts) >= SEVERAL else _ends(parts, count)] = True
    return held


def _whole(parts: Sequence[Tensor], count: int, generator: torch.Generator) -> Tensor:
    """The rows of random recordings: about `count`, more rather than a part of one."""
    size, chosen = sum(map(len, parts)), list[int]()
    most = max(count, min(size // SEVERAL, size - FEWEST))
    for place in torch.randperm(len(parts), generator=generator).tolist():
        if len(chosen) < count and len(chosen) + len(parts[place]) <= most:
            chosen += parts[place].tolist()
    return torch.tensor(chosen)


def _ends(parts: Sequence[Tensor], count: int) -> Tensor:
    """`count` rows, the last ones of each recording."""
    backwards = [part.flip(0) for part in parts]
    depths = torch.cat([torch.arange(len(part)) / len(part) for part in backwards])
    return torch.cat(backwards)[depths.argsort(stable=True)][:count]


def fit_whole_stage(statistics: ClipScores, parts: Sequence[StageClips], offset: int) -> None:
    """Fit the statistics on the whole stage, held-out clips included; `offset` is the index of its first class."""
    samples = joined([part.samples(offset, draws=statistics.settings.draws) for part in parts])
    statistics.update(samples, len(parts[0].classes))


def lower_bound(scores: Floats, recall: float) -> float | None:
    """The bound that a new clip's score exceeds with probability `recall` (Student's t); None for too few scores."""
    if len(scores) < FEWEST:
        return None
    from scipy import stats  # imported late: takes half a second, and is not needed without thresholds

    quantile = stats.t.ppf(recall, len(scores) - 1)
    return float(scores.mean() - quantile * scores.std(ddof=1) * math.sqrt(1 + 1 / len(scores)))


@torch.no_grad()
def learn_threshold(model: StPR, held: StageClips, *, recall: float) -> float | None:
    """The threshold of the newest stage, from its held-out clips; None for too few.

    Random draws are added only if there are too few: they look less familiar than real clips, so they make the
    threshold too low.
    """
    combiner, found = model.head.combiner, []
    statistics = combiner.statistics
    few = len(held.inputs.labels) < FEWEST
    samples = held.samples(0, draws=few and statistics is not None and bool(statistics.settings.draws))
    for features in torch.split(samples.features, BATCH):
        clips = combiner.read(features)
        logits, _ = combiner.combine(clips, model.head.ask(features))
        found.append(combiner.familiarity(clips, logits))
    return lower_bound(torch.cat(found).double().cpu().numpy(), recall)


@torch.no_grad()
def lowered_threshold(
    threshold: float | None, statistics: ClipScores, parts: Sequence[StageClips], lenience: float
) -> float | None:
    """Lower a threshold for people never filmed, who look less familiar than held-out clips of the same people.

    Only with likelihoods by direction, and only until a share `lenience` of the newest stage's clips would be accepted
    if their class had not been learnt. `statistics` must be fitted on all of its `parts`.
    """
    if not lenience or not isinstance(statistics, ClipStatistics) or not statistics.knows_by_direction:
        return threshold
    features = torch.cat([part.centre.features() for part in parts])
    labels = torch.cat([part.labels_from(0) for part in parts])
    found = [statistics.familiar_to_others(features[labels == label], label) for label in sorted(set(labels.tolist()))]
    bound = float(torch.cat(found).quantile(1 - lenience))
    return bound if threshold is None else min(threshold, bound)


def unknown_spec(model: StPR, settings: UnknownSettings, thresholds: Sequence[float | None]) -> UnknownSpec | None:
    """The thresholds in the form stored in checkpoint and manifest; None if no clips are held out."""
    if settings.holdout == 0:
        return None
    return UnknownSpec(score=model.head.combiner.score, recall=settings.recall, thresholds=tuple(thresholds))


def measure(spec: UnknownSpec, known: Predicted, strange: Predicted | None, sizes: Sequence[int]) -> UnknownFigures:
    """Metrics on test clips of known classes (`sizes` per stage) and of classes of later stages."""
    owners = np.repeat(np.arange(len(sizes)), sizes)
    lows = np.array([-math.inf if low is None else low for low in spec.thresholds])[owners]  # (C,)
    return figures_of(_judged(known, lows), _judged(strange, lows), recall=spec.recall)


def _judged(clips: Predicted | None, lows: Floats) -> Judged:
    if clips is None:
        return Judged(np.empty(0), np.empty(0, np.bool_))
    return Judged(clips.familiarity, clips.familiarity >= lows[clips.predicted])
