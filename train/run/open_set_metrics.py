"""Open-set metrics: how well familiarity separates known from unknown classes. Pure functions of scores.

Known (the positive class): clips of classes already learnt. Unknown: clips of classes of later stages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Booleans: TypeAlias = npt.NDArray[np.bool_]


class UnknownFigures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Open-set metrics after one stage; None without test clips of unknown classes."""

    recall: float  # true positive rate: share of known clips accepted as known, by the stages' thresholds
    false_positive_rate: float | None  # share of unknown clips accepted as known, by the same thresholds
    auroc: float | None
    false_positive_rate_at_recall: float | None  # with one threshold that accepts `target_recall` of known clips
    target_recall: float | None = None  # the recipe's; None in metrics of schema 0


@dataclass(frozen=True, slots=True)
class Judged:
    """Familiarity of clips `(n,)`, and whether the thresholds accept each as known."""

    scores: Floats
    accepted: Booleans


def figures_of(known: Judged, unknown: Judged, *, recall: float) -> UnknownFigures:
    """Compute the metrics from clips of known classes (at least one) and of unknown classes (may be none).

    `recall` is the target at which `false_positive_rate_at_recall` is measured.
    """
    some = len(unknown.scores) > 0
    return UnknownFigures(
        recall=float(known.accepted.mean()),
        false_positive_rate=float(unknown.accepted.mean()) if some else None,
        auroc=_auroc(known.scores, unknown.scores) if some else None,
        false_positive_rate_at_recall=_false_positive_rate(known.scores, unknown.scores, recall) if some else None,
        target_recall=recall,
    )


def _false_positive_rate(known: Floats, unknown: Floats, recall: float) -> float:
    return float(np.mean(unknown >= np.quantile(known, 1 - recall)))


def _auroc(known: Floats, unknown: Floats) -> float:
    from sklearn.metrics import roc_auc_score  # imported late: takes a second, and is not needed without thresholds

    return float(roc_auc_score(np.repeat([True, False], [len(known), len(unknown)]), np.concatenate([known, unknown])))
