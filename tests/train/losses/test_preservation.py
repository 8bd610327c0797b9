"""FSSD against a slow reading of method §3."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stpr.train.losses.preservation import importance, preservation
from stpr.train.settings.learning import PreservationSettings

PLAIN = PreservationSettings(clip_quantile=1.0)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def slow_importance(
    features: np.ndarray, labels: np.ndarray, vectors: np.ndarray, how: PreservationSettings
) -> np.ndarray:
    clips = features.mean(axis=1)
    if how.normalise:
        features, clips, vectors = unit(features), unit(clips), unit(vectors)
    table = np.zeros(vectors.shape)
    for c, vector in enumerate(vectors):
        for j in range(len(vector)):
            values = [clips[i, j] for i in range(len(clips)) if labels[i] == c]
            mean = sum(values) / len(values)
            if how.variance == "frames":
                values = [
                    features[i, t, j] for i in range(len(clips)) if labels[i] == c for t in range(features.shape[1])
                ]
            centre = sum(values) / len(values)
            variance = sum((value - centre) ** 2 for value in values) / len(values)
            table[c, j] = vector[j] * mean / (variance + how.epsilon)
    table = np.abs(table) if how.sign == "absolute" else np.maximum(table, 0)
    return np.minimum(table, np.quantile(table, how.clip_quantile))


@pytest.mark.parametrize(
    "changes",
    [{}, {"sign": "absolute"}, {"variance": "frames"}, {"normalise": False}, {"clip_quantile": 0.9}],
    ids=str,
)
def test_importance_is_the_formula(changes: dict[str, object]) -> None:
    how = msgspec.structs.replace(PLAIN, **changes)
    random = np.random.default_rng(3)
    features, vectors = random.normal(size=(12, 4, 5)) + 1, random.normal(size=(3, 5))
    labels = np.repeat([0, 1, 2], 4)
    found = importance(torch.tensor(features), torch.tensor(labels), torch.tensor(vectors), how)
    np.testing.assert_allclose(found.numpy(), slow_importance(features, labels, vectors, how), rtol=2e-6)


def test_a_stable_channel_is_held_more_than_a_restless_one() -> None:
    """Fisher information about a Gaussian's mean is 1 / variance (method §3.1 a)."""
    random = np.random.default_rng(0)
    features = np.ones((200, 1, 3)) + random.normal(size=(200, 1, 3)) * [0.1, 1.0, 10.0]
    how = msgspec.structs.replace(PLAIN, normalise=False)
    found = importance(torch.tensor(features), torch.zeros(200, dtype=torch.long), torch.ones(1, 3), how)[0]
    assert found[0] > 10 * found[1] > 10 * found[2]


def test_loss_is_the_formula() -> None:
    random = np.random.default_rng(1)
    new, old, weights = (random.normal(size=(4, 6)) for _ in range(3))
    expected = sum(weights[i, j] * (unit(old)[i, j] - unit(new)[i, j]) ** 2 for i in range(4) for j in range(6)) / (
        4 * 6
    )
    found = preservation(torch.tensor(new), torch.tensor(old), torch.tensor(weights), normalise=True)
    assert float(found.mean()) == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_no_drift_costs_nothing_and_drift_never_pays(seed: int, normalise: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(9, 2, 4, generator=generator)
    weights = importance(features, torch.arange(9) % 3, torch.randn(3, 4, generator=generator), PreservationSettings())
    static = features.mean(dim=1)
    held = weights[torch.arange(9) % 3]
    assert not preservation(static, static, held, normalise=normalise).any()
    moved = static + torch.randn(9, 4, generator=generator)
    assert (preservation(moved, static, held, normalise=normalise) >= 0).all()
