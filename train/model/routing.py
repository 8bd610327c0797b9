"""TD-MoE's router: which expert's opinion counts for a clip, without a task id (method §4.3, §4.4, §12.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec
import torch
from torch import Tensor
from torch.nn import functional as F

from stpr.train.ranges import Positive


class RouterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`raw` is the paper's formula; `likelihood` weighs experts by the statistics under one shared covariance."""

    kind: Literal["raw", "softmax", "top1", "equal", "likelihood"] = "raw"
    temperature: Positive = 0.05  # of softmax over anchor cosines


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a router may look at."""

    temporal: Tensor  # (B, E, D) V^tem_k
    anchors: Tensor  # (C, D) mean temporal part of each class
    membership: Tensor  # (C, E) one where the class was learnt with the expert
    posterior: Tensor | None  # (B, C) of the clip statistics, where they are kept
    temperature: float


def anchor_scores(evidence: Evidence) -> Tensor:
    """r_k = max over the classes of expert k of cos(V^tem_k, anchor): `(B, E)` (method §4.3)."""
    cosines = F.normalize(evidence.temporal, dim=-1) @ F.normalize(evidence.anchors, dim=-1).T  # (B, E, C)
    return (cosines - 4.0 * (1 - evidence.membership.T)).amax(dim=-1)  # others' anchors fall below any cosine


def _softmax(evidence: Evidence) -> Tensor:
    return torch.softmax(anchor_scores(evidence) / evidence.temperature, dim=-1)


def _top1(evidence: Evidence) -> Tensor:
    scores = anchor_scores(evidence)
    return (scores >= scores.amax(dim=-1, keepdim=True)).to(scores.dtype)


def _equal(evidence: Evidence) -> Tensor:
    scores = anchor_scores(evidence)
    return torch.full_like(scores, 1.0 / scores.shape[1])


def _likelihood(evidence: Evidence) -> Tensor:
    assert evidence.posterior is not None
    return evidence.posterior @ evidence.membership


ROUTERS: Mapping[str, Callable[[Evidence], Tensor]] = {
    "raw": anchor_scores,
    "softmax": _softmax,
    "top1": _top1,
    "equal": _equal,
    "likelihood": _likelihood,
}
