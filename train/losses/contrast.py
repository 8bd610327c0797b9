"""L_Cont: symmetric InfoNCE between clips and class vectors (method §5)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def contrast(features: Tensor, labels: Tensor, class_vectors: Tensor, *, temperature: float) -> Tensor:
    """Half video→class, half class→video; `features` `(B, D)`, `labels` `(B,)` are rows of `class_vectors` `(K, D)`.

    Video→class has every given class vector in its denominator: with a single class in the batch, in-batch
    negatives would have exactly zero gradient.
    """
    scores = F.normalize(features, dim=-1) @ F.normalize(class_vectors, dim=-1).T / temperature  # (B, K)
    to_class = F.cross_entropy(scores, labels)
    return 0.5 * (to_class + _class_to_video(scores, labels))


def _class_to_video(scores: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each class vector over the batch's clips; clips of one class share the target equally."""
    positives = labels[:, None] == labels[None, :]  # (B, B)
    log_share = torch.log_softmax(scores[:, labels], dim=0)  # (B clips, B class vectors of the samples)
    wanted = positives.to(scores) / positives.sum(dim=0, keepdim=True)
    return -(wanted * log_share).sum(dim=0).mean()
