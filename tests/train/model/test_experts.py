"""The expert against a slow reading of method §2.2 and the decomposition of §4.1 and §12.1."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from stpr.train.model.experts import Block, Expert
from stpr.train.settings.model import ExpertSettings


def randomised(expert: Expert, seed: int = 0) -> Expert:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in expert.parameters():
            value.copy_(0.3 * torch.randn(value.shape, generator=generator))
    return expert.double().eval()


def slow_expert(expert: Expert, features: np.ndarray) -> np.ndarray:
    """One clip `(T, D)` at a time, one head at a time, in plain numpy."""
    state = {name: value.numpy() for name, value in expert.state_dict().items()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
        return centred / scale * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    erf = np.vectorize(math.erf)
    static = features.mean(axis=0)
    seen = features - static if expert.decomposes else features
    if expert.enter is not None:
        seen = seen @ state["enter.weight"].T
    x = seen + state["positions"]
    for index, block in enumerate(expert.blocks):
        assert isinstance(block, Block)
        prefix, heads = f"blocks.{index}", block.heads
        query, key, value = np.split(linear(norm(x, f"{prefix}.norm_attention"), f"{prefix}.qkv"), 3, axis=-1)
        size = query.shape[-1] // heads
        mixed = np.zeros_like(query)
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            scores = np.exp(query[:, part] @ key[:, part].T / math.sqrt(size))
            mixed[:, part] = scores / scores.sum(axis=-1, keepdims=True) @ value[:, part]
        x = x + linear(mixed, f"{prefix}.out")
        inner = linear(norm(x, f"{prefix}.norm_mlp"), f"{prefix}.up")
        x = x + linear(inner * 0.5 * (1 + erf(inner / math.sqrt(2))), f"{prefix}.down")
    said = (x - state["positions"] - seen).mean(axis=0)
    return static + (said if expert.leave is None else said @ state["leave.weight"].T)


@pytest.mark.parametrize("mode", ["frames", "residual"])
@pytest.mark.parametrize(
    ("layers", "heads", "frames", "width"), [(1, 1, 4, 0), (3, 2, 8, 0), (2, 4, 3, 4), (1, 2, 4, 2)]
)
def test_it_is_the_formula(mode: str, layers: int, heads: int, frames: int, width: int) -> None:
    settings = ExpertSettings(layers=layers, heads=heads, width=width, input=mode)  # type: ignore[arg-type]
    expert = randomised(Expert(frames, 8, settings))
    clips = torch.randn(3, frames, 8, dtype=torch.float64)
    with torch.no_grad():
        found = expert(clips).numpy()
    np.testing.assert_allclose(found, [slow_expert(expert, clip.numpy()) for clip in clips], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("width", [0, 4])
@pytest.mark.parametrize("mode", ["frames", "residual"])
def test_a_fresh_expert_adds_nothing(mode: str, width: int) -> None:
    expert = Expert(8, 16, ExpertSettings(input=mode, width=width)).eval()  # type: ignore[arg-type]
    clips = torch.randn(2, 8, 16)
    with torch.no_grad():
        torch.testing.assert_close(expert(clips), clips.mean(dim=1))


def test_what_is_static_goes_around_a_decomposed_expert() -> None:
    """V^tem does not change when the same vector is added to every frame (method §4.1)."""
    expert = randomised(Expert(8, 16, ExpertSettings(input="residual", width=0)))
    clips, shift = torch.randn(2, 8, 16, dtype=torch.float64), 5 * torch.randn(2, 1, 16, dtype=torch.float64)
    with torch.no_grad():
        temporal = expert(clips) - clips.mean(dim=1)
        shifted = expert(clips + shift) - (clips + shift).mean(dim=1)
    torch.testing.assert_close(temporal, shifted)


def test_the_papers_expert_has_nine_and_a_half_million_parameters() -> None:
    expert = Expert(8, 512, ExpertSettings(width=0))
    assert sum(value.numel() for value in expert.blocks.parameters()) == pytest.approx(9.46e6, rel=0.001)


def test_a_lean_expert_is_smaller_by_about_the_square_of_its_width() -> None:
    full, lean = (Expert(8, 512, ExpertSettings(width=width)) for width in (0, 128))
    sizes = [sum(value.numel() for value in expert.parameters()) for expert in (full, lean)]
    assert sizes[0] / sizes[1] == pytest.approx(13, abs=0.5)  # 16 but for the ways in and out


@pytest.mark.parametrize("mode", ["frames", "residual"])
def test_every_part_of_a_lean_expert_learns(mode: str) -> None:
    """A way out that starts at zero behind blocks that do would never move."""
    expert = Expert(4, 16, ExpertSettings(input=mode, layers=1, width=4))  # type: ignore[arg-type]
    before = {name: value.detach().clone() for name, value in expert.named_parameters()}
    optimizer = torch.optim.SGD(expert.parameters(), lr=0.1)
    target = torch.randn(6, 16)
    for _ in range(3):
        optimizer.zero_grad()
        (expert(torch.randn(6, 4, 16)) - target).square().sum().backward()
        optimizer.step()
    assert not [name for name, value in expert.named_parameters() if torch.equal(value, before[name])]


def test_uniform_attention_leaves_no_temporal_part() -> None:
    """V^tem = sum (a_i - 1/N) eps_i is zero when every frame has the same weight (method §4.1)."""
    features = torch.randn(4, 8, 16, dtype=torch.float64)
    static = features.mean(dim=1)
    weighted = (torch.full((4, 8, 1), 1 / 8, dtype=torch.float64) * features).sum(dim=1)
    torch.testing.assert_close(weighted - static, torch.zeros_like(static))
