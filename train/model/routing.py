"""TD-MoE's router: how much each expert counts for a clip, without a task id (method §4.3, §4.4, §12.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a router may look at."""

    temporal: Tensor  # (B, E, D) V^tem_k
    anchors: Tensor  # (C, D) mean temporal part of each class
    static: Tensor  # (B, D) mean frame feature, without adapters where the keys are
    keys: Tensor  # (C, D) mean of that over each class's training clips, where they are kept
    membership: Tensor  # (C, E) one where the class was learnt with the expert
    posterior: Tensor | None  # (B, C) of the clip statistics, where they are kept
    temperature: float


def anchor_scores(evidence: Evidence) -> Tensor:
    """r_k = max over the classes of expert k of cos(V^tem_k, anchor): `(B, E)` (method §4.3)."""
    cosines = F.normalize(evidence.temporal, dim=-1) @ F.normalize(evidence.anchors, dim=-1).T  # (B, E, C)
    return _best_own(cosines, evidence.membership)


def key_scores(evidence: Evidence) -> Tensor:
    """r_k = max over the classes of expert k of cos(V̄, key): `(B, E)` (method §4.4)."""
    cosines = F.normalize(evidence.static, dim=-1) @ F.normalize(evidence.keys, dim=-1).T  # (B, C)
    return _best_own(cosines[:, None], evidence.membership)


def _best_own(cosines: Tensor, membership: Tensor) -> Tensor:
    """The largest of each expert's own classes: `(B, E or 1, C)` -> `(B, E)`."""
    return (cosines - 4.0 * (1 - membership.T)).amax(dim=-1)  # others' classes fall below any cosine


def _softmax(evidence: Evidence) -> Tensor:
    return torch.softmax(anchor_scores(evidence) / evidence.temperature, dim=-1)


def _top1(evidence: Evidence) -> Tensor:
    scores = anchor_scores(evidence)
    return (scores >= scores.amax(dim=-1, keepdim=True)).to(scores.dtype)


def _equal(evidence: Evidence) -> Tensor:
    experts = evidence.temporal[..., 0]  # (B, E)
    return torch.full_like(experts, 1.0 / experts.shape[1])


def _likelihood(evidence: Evidence) -> Tensor:
    assert evidence.posterior is not None
    return evidence.posterior @ evidence.membership


ROUTERS: Mapping[str, Callable[[Evidence], Tensor]] = {
    "raw": anchor_scores,
    "softmax": _softmax,
    "top1": _top1,
    "equal": _equal,
    "likelihood": _likelihood,
    "clip_key": key_scores,
    "adapter_key": key_scores,
}
