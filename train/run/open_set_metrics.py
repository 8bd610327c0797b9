"""How well clips of classes learnt and of classes not yet learnt are told apart: pure functions on scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]


class UnknownFigures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How well test clips of classes learnt and not yet learnt are told apart; None where there are none of the latter.

    A false alarm is a clip of a class not yet learnt that is taken for a known one.
    """

    recall: float  # share of known clips that are taken for known, by the stages' thresholds
    false_alarms: float | None  # by the same thresholds
    auroc: float | None
    false_alarms_at_recall: float | None  # by one threshold that keeps just the wished share of the known test clips


@dataclass(frozen=True, slots=True)
class Judged:
    """Familiarity of clips `(n,)`, and which of them are taken for known."""

    scores: Floats
    accepted: npt.NDArray[np.bool_]


def figures_of(known: Judged, strange: Judged, *, recall: float) -> UnknownFigures:
    """The figures for clips of classes learnt, at least one, and not yet learnt, perhaps none."""
    if not len(strange.scores):
        return UnknownFigures(
            recall=float(known.accepted.mean()), false_alarms=None, auroc=None, false_alarms_at_recall=None
        )
    return UnknownFigures(
        recall=float(known.accepted.mean()),
        false_alarms=float(strange.accepted.mean()),
        auroc=_auroc(known.scores, strange.scores),
        false_alarms_at_recall=float(np.mean(strange.scores >= np.quantile(known.scores, 1 - recall))),
    )


def _auroc(known: Floats, strange: Floats) -> float:
    from sklearn.metrics import roc_auc_score  # imported late: it costs a second that a run without thresholds saves

    return float(roc_auc_score(np.repeat([True, False], [len(known), len(strange)]), np.concatenate([known, strange])))
