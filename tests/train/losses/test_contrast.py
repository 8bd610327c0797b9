"""L_Cont against a slow reading of method §5."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from stpr.train.losses.contrast import contrast


def slow_contrast(features: np.ndarray, labels: list[int], vectors: np.ndarray, temperature: float) -> float:
    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / math.sqrt(a @ a) / math.sqrt(b @ b))

    to_class = 0.0
    for feature, label in zip(features, labels, strict=True):
        shares = [math.exp(cosine(feature, vector) / temperature) for vector in vectors]
        to_class -= math.log(shares[label] / sum(shares))
    to_video = 0.0
    for label in labels:
        shares = [math.exp(cosine(feature, vectors[label]) / temperature) for feature in features]
        positives = [share for share, other in zip(shares, labels, strict=True) if other == label]
        to_video -= sum(math.log(share / sum(shares)) for share in positives) / len(positives)
    return 0.5 * (to_class + to_video) / len(labels)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, 0, 1, 1], [2, 2, 2, 2], [3, 0, 3, 1, 3, 0]])
@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_it_is_the_formula(labels: list[int], temperature: float) -> None:
    random = np.random.default_rng(len(labels))
    features, vectors = random.normal(size=(len(labels), 6)), random.normal(size=(4, 6))
    found = contrast(torch.tensor(features), torch.tensor(labels), torch.tensor(vectors), temperature=temperature)
    assert float(found) == pytest.approx(slow_contrast(features, labels, vectors, temperature), rel=1e-9)


def test_a_stage_of_one_class_still_pulls_its_clips() -> None:
    """The trap of method §5: with in-batch negatives alone a one-class stage has exactly zero gradient."""
    vectors = torch.eye(3, 8)

    def gradient(candidates: torch.Tensor, label: int) -> float:
        features = torch.randn(5, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
        labels = torch.full((5,), label)
        scores = torch.nn.functional.normalize(features, dim=1) @ candidates.T
        torch.nn.functional.cross_entropy(scores / 0.1, labels).backward()
        assert features.grad is not None
        return float(features.grad.abs().max())

    assert gradient(vectors[2:], 0) == 0
    assert gradient(vectors, 2) > 0.01
    features = torch.randn(5, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    contrast(features, torch.full((5,), 2), vectors, temperature=0.1).backward()
    assert features.grad is not None
    assert float(features.grad.abs().max()) > 0.01
