"""Adapters change nothing at zero, and gradients go into them alone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch

from stpr.runtime.contract.errors import RecipeError
from stpr.train.model.adapters import AdaptedBranch, Adapter
from stpr.train.model.backbone import load_backbone
from stpr.train.model.encoder import FrameEncoder
from stpr.train.settings.model import AdapterSettings
from tests.train.networks import SIDE, TRANSFORMERS, write_network

Place = Literal["blocks", "feature", "none"]
PLACES: tuple[Place, ...] = ("blocks", "feature")


def make_encoder(folder: Path, place: Place, **settings: float) -> FrameEncoder:
    torch.manual_seed(1)
    adapter = AdapterSettings(place=place, bottleneck=5, **settings)
    return FrameEncoder(backbone=load_backbone(str(folder)), adapter=adapter, projection=0)


def disturb(encoder: FrameEncoder) -> None:
    with torch.no_grad():
        for value in encoder.adapter_parameters():
            value.add_(torch.randn_like(value))


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    return torch.randint(0, 256, (3, 2, SIDE, SIDE, 3), dtype=torch.uint8)


def test_an_adapter_is_down_relu_up_times_scale() -> None:
    adapter = Adapter(4, AdapterSettings(bottleneck=3, scale=0.25))
    torch.nn.init.normal_(adapter.up.weight)
    x = torch.randn(7, 4)
    hidden = (x @ adapter.down.weight.T + adapter.down.bias).clamp_min(0)
    torch.testing.assert_close(adapter(x), 0.25 * (hidden @ adapter.up.weight.T + adapter.up.bias))


@pytest.mark.parametrize("place", PLACES)
def test_at_the_start_they_change_nothing_at_all(clip_folder: Path, frames: torch.Tensor, place: Place) -> None:
    with torch.no_grad():
        plain = make_encoder(clip_folder, "none")(frames)
        assert torch.equal(make_encoder(clip_folder, place)(frames), plain)


@pytest.mark.parametrize("place", PLACES)
def test_once_trained_they_add_to_the_frozen_feature(clip_folder: Path, frames: torch.Tensor, place: Place) -> None:
    encoder = make_encoder(clip_folder, place)
    disturb(encoder)
    with torch.no_grad():
        plain, adapted = make_encoder(clip_folder, "none")(frames), encoder(frames)
        assert not torch.allclose(adapted, plain, atol=1e-4)
        if encoder.adapter is not None:
            torch.testing.assert_close(adapted, plain + encoder.adapter(plain))


def test_there_is_one_beside_the_mlp_of_every_block(clip_folder: Path) -> None:
    encoder = make_encoder(clip_folder, "blocks")
    branches = [block.mlp for block in encoder.backbone.transformer_blocks()]
    assert len(branches) == 2
    assert all(isinstance(branch, AdaptedBranch) for branch in branches)
    assert len(encoder.adapter_parameters()) == 2 * 4
    branch, x = branches[0], torch.randn(1, 5, 32)
    assert isinstance(branch, AdaptedBranch)
    disturb(encoder)
    torch.testing.assert_close(branch(x), branch.frozen(x) + branch.adapter(x))


@pytest.mark.parametrize("place", PLACES)
def test_gradients_reach_adapters_alone(clip_folder: Path, frames: torch.Tensor, place: Place) -> None:
    encoder = make_encoder(clip_folder, place).train()
    disturb(encoder)
    encoder(frames).square().sum().backward()
    adapters = encoder.adapter_parameters()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in adapters)
    known = {id(value) for value in adapters}
    others = [value for value in encoder.parameters() if id(value) not in known]
    assert others
    assert all(value.grad is None and not value.requires_grad for value in others)


@pytest.mark.parametrize("place", PLACES)
def test_training_leaves_the_backbone_bit_identical(clip_folder: Path, frames: torch.Tensor, place: Place) -> None:
    encoder = make_encoder(clip_folder, place).train()
    frozen = {name: value.clone() for name, value in encoder.state_dict().items() if "adapter" not in name}
    digest = load_backbone(str(clip_folder)).digest()
    assert encoder.backbone.digest() == digest  # adapters in it count for nothing
    steps = torch.optim.SGD([value for value in encoder.parameters() if value.requires_grad], lr=0.1, weight_decay=0.1)
    for _ in range(3):
        encoder(frames).square().sum().backward()
        steps.step()
        steps.zero_grad()
    assert all(torch.equal(value, encoder.state_dict()[name]) for name, value in frozen.items())
    assert encoder.backbone.digest() == digest
    assert any(bool((value != 0).any()) for value in encoder.adapter_parameters()[2::4])


@pytest.mark.parametrize(("kind", "blocks"), TRANSFORMERS.items())
def test_blocks_of_every_kind_of_transformer_take_adapters(kind: str, blocks: int, tmp_path: Path) -> None:
    folder = write_network(tmp_path, kind)
    encoder, plain = make_encoder(folder, "blocks"), make_encoder(folder, "none")
    frames = torch.randint(0, 256, (2, SIDE, SIDE, 3), dtype=torch.uint8)
    assert len(encoder.adapter_parameters()) == 4 * blocks
    with torch.no_grad():
        assert torch.equal(encoder(frames), plain(frames))
        disturb(encoder)
        assert not torch.allclose(encoder(frames), plain(frames), atol=1e-4)
        assert torch.equal(encoder.unadapted(frames), plain(frames))


def test_a_network_without_blocks_says_where_else(mobilenet_folder: Path) -> None:
    with pytest.raises(RecipeError, match=r'place = "blocks": .* has no transformer blocks; use place = "feature"'):
        make_encoder(mobilenet_folder, "blocks")
    assert len(make_encoder(mobilenet_folder, "feature").adapter_parameters()) == 4
