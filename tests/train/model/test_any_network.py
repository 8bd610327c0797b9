"""Nine kinds of networks that a user would try, small and of random weights, saved with their own processors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from stpr.runtime.contract.preprocess import preprocess
from stpr.train.model.backbone import load_backbone
from stpr.train.model.encoder import FrameEncoder
from stpr.train.model.processor import example
from stpr.train.settings.model import AdapterSettings
from tests.train.networks import quietly

PLAIN = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
SEES = {**PLAIN, "image_size": 224, "patch_size": 16}
KINDS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "vit": ("ViT", SEES, "ViT", {}),
    "deit": ("DeiT", SEES, "DeiT", {}),
    "dinov2": ("Dinov2", {**SEES, "patch_size": 14}, "Bit", {}),
    "beit": ("Beit", SEES, "Beit", {}),
    "swin": ("Swin", {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2]}, "ViT", {}),
    "convnext": ("ConvNext", {"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2}, "ConvNext", {}),
    "efficientnet": (
        "EfficientNet",
        {"width_coefficient": 0.25, "depth_coefficient": 0.25, "hidden_dim": 320},
        "EfficientNet",
        {},
    ),
    "mobilevit": (
        "MobileViT",
        {"hidden_sizes": [16] * 3, "neck_hidden_sizes": [8] * 6 + [16], "num_attention_heads": 1},
        "MobileViT",
        {"size": {"shortest_edge": 288}},
    ),
    "siglip": ("SiglipVision", SEES, "Siglip", {}),
}


def unsettle(network: Any) -> None:
    """Let batch norms see a few pictures, so that signals get through."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean of what it sees
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 224, 224))
    network.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_it_sees_what_its_own_processor_shows_it_and_can_be_tuned(tmp_path: Path, kind: str) -> None:
    quietly()
    torch.manual_seed(0)
    network, form, processor, settings = KINDS[kind]
    config = getattr(transformers, f"{network}Config")(**form)
    made = getattr(transformers, f"{network}Model")(config)
    unsettle(made)
    made.save_pretrained(tmp_path)
    own = getattr(transformers, f"{processor}ImageProcessorPil")(**settings)
    own.save_pretrained(tmp_path)
    backbone = load_backbone(str(tmp_path))
    adapter = AdapterSettings(place="blocks" if backbone.offers.blocks else "feature")
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
