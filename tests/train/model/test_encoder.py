"""The projection against numpy, and the way from pixels to features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stpr.runtime.contract.errors import RecipeError
from stpr.runtime.contract.motion import MotionSpec
from stpr.train.model.backbone import load_backbone
from stpr.train.model.encoder import FrameEncoder, Projection
from stpr.train.model.motion import Motion, motion_width
from stpr.train.settings.model import AdapterSettings
from tests.train.networks import SIDE, WIDTH

NONE = AdapterSettings(place="none")


def correlated(rows: int, width: int, seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    scales = 3.0 ** -np.arange(width)
    made = rng.normal(size=(rows, width)) * scales @ np.linalg.qr(rng.normal(size=(width, width)))[0] + 5
    return torch.from_numpy(made.astype(np.float32))


def fitted(features: torch.Tensor, width: int) -> Projection:
    projection = Projection(features.shape[1], width)
    projection.fit(features)
    return projection


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), width=st.integers(1, 5))
def test_the_fitted_sample_comes_out_white(seed: int, width: int) -> None:
    features = correlated(200, 5, seed)
    white = fitted(features, width)(features).double()
    np.testing.assert_allclose(white.mean(dim=0), 0, atol=2e-3)
    np.testing.assert_allclose(torch.atleast_2d(torch.cov(white.T)), np.eye(width), atol=5e-3)


def test_it_is_pca_with_a_fixed_sign() -> None:
    features = correlated(300, 6, 0)
    values, vectors = np.linalg.eigh(np.cov(features.double().numpy().T))
    first = vectors[:, ::-1][:, :4]
    first = first * np.sign(first[np.abs(first).argmax(axis=0), np.arange(4)])
    expected = (features.double().numpy() - features.double().numpy().mean(axis=0)) @ (first / values[::-1][:4] ** 0.5)
    np.testing.assert_allclose(fitted(features, 4)(features), expected, atol=5e-3)


@pytest.mark.parametrize("rows", [2, 3, 5])
def test_fewer_samples_than_width_leave_the_rest_empty(rows: int) -> None:
    features = correlated(rows, 8, 1)
    out = fitted(features, 6)(features)
    assert torch.isfinite(out).all()
    np.testing.assert_allclose(torch.cov(out[:, : rows - 1].double().T), np.eye(rows - 1), atol=1e-2)
    assert (out[:, rows:] == 0).all()
    assert out[:, rows - 1].abs().max() < 1e-2  # what centring left of the last direction is noise and stays so


def test_a_direction_that_hardly_varies_is_not_blown_up() -> None:
    features = correlated(50, 4, 2)
    features[:, 3] = features[:, 0]
    assert fitted(features, 4)(features).abs().max() < 50


def test_frames_of_any_lead_and_their_frozen_features_agree(clip_folder: Path) -> None:
    encoder = FrameEncoder(backbone=load_backbone(str(clip_folder)), adapter=NONE, projection=10).eval()
    # Enough frames that no direction of the ten is rounding alone.
    frames = torch.randint(0, 256, (2, 16, SIDE, SIDE, 3), dtype=torch.uint8)
    with torch.no_grad():
        frozen = encoder.frozen(frames)
        assert isinstance(encoder.projection, Projection)
        encoder.projection.fit(frozen.flatten(0, 1))
        assert frozen.shape == (2, 16, WIDTH)
        assert encoder(frames).shape == (2, 16, 10)
        torch.testing.assert_close(encoder(frozen), encoder(frames))
        torch.testing.assert_close(encoder(frames)[1, 2:], encoder(frames[1, 2:]), rtol=1e-4, atol=1e-4)


def test_what_is_seen_besides_the_appearance_stands_behind_it_untouched(clip_folder: Path) -> None:
    motion = MotionSpec(pairs=2, side=16, seconds=0.1)
    backbone = load_backbone(str(clip_folder), (1,))
    adapter = AdapterSettings(place="feature", bottleneck=3, scale=1.0)
    encoder = FrameEncoder(backbone=backbone, adapter=adapter, projection=10, motion=motion).eval()
    assert isinstance(encoder.projection, Projection)
    encoder.projection.basis.copy_(torch.randn_like(encoder.projection.basis))
    for value in encoder.adapter_parameters():
        torch.nn.init.normal_(value)
    pictures = torch.randint(0, 256, (2, 3, SIDE, SIDE, 3), dtype=torch.uint8)
    greys = torch.randint(0, 256, (2, 3, 2, 2, 16, 16), dtype=torch.uint8)
    pixels = torch.from_numpy(encoder.pixels.join(pictures.numpy(), greys.numpy()))
    plain = FrameEncoder(backbone=load_backbone(str(clip_folder)), adapter=adapter, projection=10).eval()
    plain.load_state_dict(encoder.state_dict())
    columns = encoder.columns
    with torch.no_grad():
        features, frozen, unadapted = encoder(pixels), encoder.frozen(pixels), encoder.unadapted(pixels)
        inner = backbone(((pictures.flatten(0, 1) / 255 - encoder.mean) / encoder.std).permute(0, 3, 1, 2))[:, WIDTH:]
        torch.testing.assert_close(columns.appearance_of(features), plain(pictures))
        torch.testing.assert_close(encoder.appearance(pixels), plain(pictures))
        torch.testing.assert_close(columns.appearance_of(unadapted), plain.unadapted(pictures))
        for found in (features, unadapted):
            torch.testing.assert_close(columns.inner_of(found), inner.reshape(2, 3, -1))
            torch.testing.assert_close(columns.motion_of(found), Motion(motion)(greys.flatten(0, 1)).reshape(2, 3, -1))
        torch.testing.assert_close(encoder(frozen), features)
        torch.testing.assert_close(encoder.backbone_of(frozen), plain.frozen(pictures))
        apart = encoder(pictures.flatten(0, 1), greys.flatten(0, 1))  # as an exported graph takes them
        torch.testing.assert_close(apart, features.flatten(0, 1))
    assert features.shape == (2, 3, columns.width)
    assert frozen.shape == (2, 3, encoder.frozen_width)
    assert (columns.appearance, columns.inner, columns.pairs) == (10, backbone.inner_width, 2)
    assert columns.width == 10 + backbone.inner_width + motion_width(2)
    assert encoder.frozen_width == columns.width - 10 + WIDTH
    assert not torch.equal(features, unadapted)


def test_a_projection_wider_than_the_network_is_refused(clip_folder: Path) -> None:
    backbone = load_backbone(str(clip_folder))
    with pytest.raises(RecipeError, match=r"projection: 25 is wider than the 24 features of .*; use at most that many"):
        FrameEncoder(backbone=backbone, adapter=NONE, projection=25)
    assert FrameEncoder(backbone=backbone, adapter=NONE, projection=24).columns.appearance == 24


@pytest.mark.parametrize(("place", "trains"), [("blocks", True), ("feature", False), ("none", False)])
def test_only_adapters_in_blocks_make_frozen_features_stale(clip_folder: Path, place: str, trains: bool) -> None:
    adapter = AdapterSettings(place=place)  # type: ignore[arg-type]
    encoder = FrameEncoder(backbone=load_backbone(str(clip_folder)), adapter=adapter, projection=0)
    assert encoder.upstream_trains is trains
    assert bool(encoder.adapter_parameters()) is (place != "none")
