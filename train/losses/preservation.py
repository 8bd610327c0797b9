"""FSSD, frame-shared semantics distillation: preserve channels that are important and stable (method §3)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from stpr.train.settings.learning import PreservationSettings


def importance(features: Tensor, labels: Tensor, class_vectors: Tensor, settings: PreservationSettings) -> Tensor:
    """I = T·mu / sigma² per class and channel `(K, D)` of features `(n, T, D)` and labels `(n,)` (method §3.1)."""
    clips = features.mean(dim=1)
    if settings.normalise:
        features, clips = F.normalize(features, dim=-1), F.normalize(clips, dim=-1)
        class_vectors = F.normalize(class_vectors, dim=-1)
    rows = []
    for index, vector in enumerate(class_vectors):
        mine = labels == index
        spread = clips[mine] if settings.variance == "clips" else features[mine].flatten(0, 1)
        variance = spread.var(dim=0, unbiased=False) + settings.epsilon
        rows.append(vector * clips[mine].mean(dim=0) / variance)
    weights = torch.stack(rows)
    weights = weights.abs() if settings.sign == "absolute" else weights.clamp_min(0)
    return weights.clamp_max(torch.quantile(weights.flatten().float(), settings.clip_quantile))


def preservation(new: Tensor, old: Tensor, weights: Tensor, *, normalise: bool) -> Tensor:
    """L_FSSD of each clip `(B,)`: the mean over channels of I · (V̄_old - V̄_new)² (method §3.2); inputs `(B, D)`."""
    if normalise:
        new, old = F.normalize(new, dim=-1), F.normalize(old, dim=-1)
    return (weights * (old - new).square()).mean(dim=-1)
