"""Nine kinds of networks that a user would try, small and of random weights, saved with their own processors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stpr.runtime.contract.preprocess import preprocess
from stpr.train.model.backbone import load_backbone
from stpr.train.model.encoder import FrameEncoder
from stpr.train.model.processor import example
from stpr.train.settings.model import AdapterSettings
from tests.train.networks import ANY_NETWORK, write_any_network


@pytest.mark.parametrize("kind", ANY_NETWORK)
def test_it_sees_what_its_own_processor_shows_it_and_can_be_tuned(tmp_path: Path, kind: str) -> None:
    own = write_any_network(tmp_path, kind)
    backbone = load_backbone(str(tmp_path))
    adapter = AdapterSettings(place="blocks" if backbone.traits.blocks else "feature")
    encoder = FrameEncoder(backbone=backbone, adapter=adapter, projection=0)
    shown: list[torch.Tensor] = []
    backbone.network.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    picture = example(backbone.spec)
    feature = encoder(torch.from_numpy(preprocess(picture, backbone.spec)[None]))
    theirs = own(picture, return_tensors="pt").pixel_values
    assert shown[0].shape == theirs.shape
    unit = 255 * float(np.mean(backbone.spec.std))
    assert float((shown[0] - theirs).abs().mean() * unit) < 3
    feature.square().sum().backward()
    assert any(value.grad is not None and bool(value.grad.any()) for value in encoder.adapter_parameters())
