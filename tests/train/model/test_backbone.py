"""Frozen networks against transformers' own, and everything that may be wrong with a folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn

from stpr.runtime.contract.errors import RecipeError
from stpr.runtime.contract.preprocess import PreprocessSpec
from stpr.train.model.backbone import TINY_FOLDER, Backbone, Inner, by_depth, load_backbone
from stpr.train.model.encoder import FrameEncoder
from stpr.train.model.processor import preprocess_spec
from stpr.train.settings.model import AdapterSettings
from tests.train.networks import SIDE, WIDTH, write_clip, write_processor

KINDS = ["clip", "mobilenet", "resnet"]


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(f"{request.param}_folder")
    return path


@pytest.fixture
def copied(clip_folder: Path, tmp_path: Path) -> Path:
    """A CLIP that a test may break."""
    return Path(shutil.copytree(clip_folder, tmp_path / "copied"))


def own_features(folder: Path, pixels: torch.Tensor) -> torch.Tensor:
    """What transformers itself gives for normalised pixels."""
    network = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        if isinstance(network, transformers.CLIPModel):
            pooled = network.vision_model(pixel_values=pixels).pooler_output
            return torch.as_tensor(network.visual_projection(pooled))
        return torch.as_tensor(network(pixel_values=pixels).pooler_output).flatten(1)


@pytest.mark.parametrize(("folder", "blocks"), [("clip", 2), ("mobilenet", 0), ("resnet", 0)], indirect=["folder"])
def test_features_are_those_of_transformers(folder: Path, blocks: int) -> None:
    backbone = load_backbone(str(folder))
    frames = torch.randint(0, 256, (2, 3, SIDE, SIDE, 3), dtype=torch.uint8)
    mean, std = torch.tensor(backbone.spec.mean), torch.tensor(backbone.spec.std)
    pixels = ((frames.flatten(0, 1) / 255 - mean) / std).permute(0, 3, 1, 2)
    expected = own_features(folder, pixels)
    encoder = FrameEncoder(backbone=backbone, adapter=AdapterSettings(place="none"), projection=0)
    with torch.no_grad():
        torch.testing.assert_close(backbone(pixels), expected)
        torch.testing.assert_close(encoder(frames), expected.reshape(2, 3, -1))
    assert expected.std(dim=0).max() > 1e-3  # not the same for every picture
    assert backbone.width == expected.shape[1]
    assert len(backbone.transformer_blocks()) == blocks


def own_states(folder: Path, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The hidden states that transformers itself gives, as `(N, places, C)`."""
    network = transformers.AutoModel.from_pretrained(folder).eval()
    network = getattr(network, "vision_model", network)
    with torch.no_grad():
        states = network(pixel_values=pixels, output_hidden_states=True).hidden_states
    return tuple(state.flatten(2).transpose(1, 2) if state.ndim == 4 else state for state in states)


@pytest.mark.parametrize(
    ("folder", "inner", "layers", "states"),
    [
        ("clip", "auto", (2,), 3),  # 0.63 and 0.75 of three states are the same one
        ("clip", (0, 2), (0, 2), 3),
        ("mobilenet", "auto", (10, 12), 16),
        ("mobilenet", "pairs", (9, 14, 11, 12), 16),
        ("clip", "pairs", (1, 2), 3),
        ("mobilenet", (15, 0), (15, 0), 16),
        ("resnet", (1,), (1,), 3),
    ],
    indirect=["folder"],
)
def test_inner_layers_are_means_and_deviations_of_hidden_states(
    folder: Path, inner: Inner, layers: tuple[int, ...], states: int
) -> None:
    backbone, plain = load_backbone(str(folder), inner), load_backbone(str(folder))
    pixels = torch.randn(3, 3, backbone.spec.height, backbone.spec.width)
    seen = own_states(folder, pixels)
    assert (backbone.inner, plain.inner, len(seen)) == (layers, (), states)
    wanted = [f(seen[layer]) for layer in layers for f in (lambda x: x.mean(dim=1), lambda x: x.std(1, correction=0))]
    with torch.no_grad():
        found = backbone(pixels)
        torch.testing.assert_close(found[:, : plain.width], plain(pixels))
    torch.testing.assert_close(found[:, plain.width :], torch.cat(wanted, dim=1), atol=1e-3, rtol=1e-3)
    assert (backbone.width, backbone.inner_width) == (plain.width, found.shape[1] - plain.width)
    assert (plain.inner_width, backbone.digest()) == (0, plain.digest())
    assert found[:, plain.width :].std(dim=0).max() > 1e-3


@pytest.mark.parametrize("folder", KINDS, indirect=True)
def test_correlations_come_after_the_inner_layers(folder: Path) -> None:
    backbone, plain = load_backbone(str(folder), (1,)), load_backbone(str(folder), (1,))
    pixels = torch.randn(3, 3, backbone.spec.height, backbone.spec.width)
    backbone.correlate((2, 1), 4)
    assert not any(axes.any() for axes in backbone.axes)
    blank = backbone.axes_digest()
    with torch.no_grad():
        backbone.fit_axes(backbone.covariances(pixels))
        found = backbone(pixels)
        torch.testing.assert_close(found[:, : plain.width + plain.inner_width], plain(pixels))
    seen, start = own_states(folder, pixels), plain.width + plain.inner_width
    for layer, axes, width in zip((2, 1), backbone.axes, backbone.correlated_widths, strict=True):
        kept = axes.shape[1]
        for row, places in zip(found, seen[layer], strict=True):
            wanted = torch.corrcoef((places @ axes).T)[tuple(torch.tril_indices(kept, kept, -1))]
            torch.testing.assert_close(row[start : start + width], wanted, atol=2e-3, rtol=2e-3)
        start += width
    assert found.shape[1] == start
    assert (backbone.digest(), plain.axes_digest()) == (plain.digest(), None)
    assert len({blank, backbone.axes_digest(), plain.axes_digest()}) == 3


def test_a_missing_hidden_state_is_named(mobilenet_folder: Path) -> None:
    backbone = load_backbone(str(mobilenet_folder))
    with pytest.raises(RecipeError, match=r"correlations: .* has 16 hidden states, .* \[16\] can.t be"):
        backbone.correlate((16,), 4)


@pytest.mark.parametrize("states", range(2, 50))
def test_pairs_of_layers_are_an_even_number_of_distinct_ones(states: int) -> None:
    found = by_depth("pairs", states)
    assert (len(set(found)), len(found) % 2) == (len(found), 0)
    assert set(found) <= set(range(states))
    assert len(found) == 4 or states < 18


@pytest.mark.parametrize(("folder", "found"), [("clip", (2,)), ("mobilenet", (11, 12))], indirect=["folder"])
def test_correlations_are_found_by_depth(folder: Path, found: tuple[int, ...]) -> None:
    by_number, backbone = load_backbone(str(folder)), load_backbone(str(folder))
    by_number.correlate(found, 4)
    backbone.correlate("auto", 4)
    assert backbone.axes_digest() == by_number.axes_digest()
    assert backbone.correlated_widths == by_number.correlated_widths == (6,) * len(found)


class Pooled(nn.Module):
    """A network that shows no hidden states."""

    def forward(self, pixels: torch.Tensor, *, output_hidden_states: bool = False) -> SimpleNamespace:
        del output_hidden_states
        return SimpleNamespace(pooler_output=pixels.mean(dim=(2, 3)))


def test_a_network_without_hidden_states_is_told() -> None:
    spec = load_backbone("tiny").spec
    said = (
        r"^\[backbone\] {}: pooled has 0 hidden states, numbered from 0, so auto can't be taken; name others, or set "
    )
    with pytest.raises(RecipeError, match=said.format("inner") + 'inner = "none"'):
        Backbone(Pooled(), spec, source="pooled", inner="auto")
    backbone = Backbone(Pooled(), spec, source="pooled")
    with pytest.raises(RecipeError, match=said.format("correlations") + r"correlations = \[\]"):
        backbone.correlate("auto", 4)
    backbone.correlate((), 4)
    assert backbone.correlated == ()


@pytest.mark.parametrize(("folder", "states"), [("clip", 3), ("mobilenet", 16)], indirect=["folder"])
@pytest.mark.parametrize("inner", [(99,), (0, 99)])
def test_an_inner_layer_that_is_not_there_is_told(folder: Path, states: int, inner: tuple[int, ...]) -> None:
    with pytest.raises(RecipeError) as caught:
        load_backbone(str(folder), inner)
    assert caught.value.message == (
        f"[backbone] inner: {folder} has {states} hidden states, numbered from 0, so {list(inner)} can't be taken; name"
        ' others, or set inner = "none".'
    )


def test_a_checkpoint_in_half_precision_is_computed_in_full(tmp_path: Path, clip_folder: Path) -> None:
    backbone = load_backbone(str(write_clip(tmp_path / "half", half=True)))
    assert {value.dtype for value in backbone.parameters()} == {torch.float32}
    assert backbone.width == WIDTH
    assert backbone.digest() != load_backbone(str(clip_folder)).digest()  # other numbers, if only by rounding


def test_the_vision_half_alone_is_enough(tmp_path: Path) -> None:
    assert load_backbone(str(write_clip(tmp_path, vision_only=True, tokenizer=False))).width == WIDTH


def test_tiny_is_the_one_that_ships() -> None:
    assert load_backbone("tiny").digest() == load_backbone(str(TINY_FOLDER)).digest()


@pytest.mark.parametrize("folder", KINDS, indirect=True)
def test_nothing_can_train_or_thaw_it(folder: Path) -> None:
    backbone = load_backbone(str(folder))
    holder = torch.nn.Sequential(backbone).train()
    assert not any(module.training for module in backbone.network.modules())
    assert not any(value.requires_grad for value in holder.parameters())
    before = backbone.digest()
    backbone(torch.randn(4, 3, SIDE, SIDE))
    assert backbone.digest() == before  # batch statistics too


@pytest.mark.parametrize("folder", KINDS, indirect=True)
def test_the_digest_tells_one_changed_number(folder: Path) -> None:
    first, same, second = (load_backbone(str(folder)) for _ in range(3))
    assert first.digest() == same.digest()
    with torch.no_grad():
        list(second.parameters())[-1].view(-1)[-1] += 1e-6
    assert first.digest() != second.digest()


def test_a_home_folder_is_understood(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(clip_folder.parent))
    assert load_backbone(f"~/{clip_folder.name}").width == WIDTH


@pytest.mark.parametrize(
    ("processor", "resize", "box", "fraction"),
    [
        ({"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}, "crop", (224, 224), 1.0),
        ({"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}, "crop", (224, 224), 0.875),
        ({"size": 256, "crop_size": 224}, "crop", (224, 224), 0.875),
        ({"size": {"height": 224, "width": 192}}, "stretch", (224, 192), 1.0),
        ({"size": {"height": 224, "width": 224}, "crop_size": {"height": 224, "width": 224}}, "stretch", (224, 224), 1),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, "crop", (224, 224), 0.875),
        (
            {"size": {"height": 256, "width": 256}, "crop_size": {"height": 224, "width": 224}, "do_center_crop": True},
            "stretch",
            (224, 224),
            0.875,
        ),
        (
            {"size": {"height": 64, "width": 64}, "crop_size": {"height": 56, "width": 56}, "do_center_crop": False},
            "stretch",
            (64, 64),
            1.0,
        ),
    ],
)
def test_processors_of_every_style(
    processor: dict[str, Any], resize: str, box: tuple[int, int], fraction: float
) -> None:
    colour = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    assert preprocess_spec({**processor, **colour}) == PreprocessSpec(
        height=box[0],
        width=box[1],
        resize="crop" if resize == "crop" else "stretch",
        crop_fraction=fraction,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.4),
    )


def refused(source: str | Path, match: str) -> None:
    with pytest.raises(RecipeError, match=match) as caught:
        load_backbone(str(source))
    assert "\n" not in caught.value.message
    assert str(source) in caught.value.message


def test_a_missing_folder_is_told_before_anything_is_asked_of_a_hub(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "there is no folder .*nowhere; name one with a config.json, or a hub id")


@pytest.mark.parametrize("lacking", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_a_folder_that_lacks_a_file(copied: Path, lacking: str) -> None:
    (copied / lacking).unlink()
    refused(copied, r"can't be loaded \(.+\); give a local folder or hub id")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_can_not_be_read_is_not_called_missing(
    copied: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Path.open

    def refuse(path: Path, *given: Any, **more: Any) -> Any:
        if path.name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return own(path, *given, **more)

    monkeypatch.setattr(Path, "open", refuse)  # root may read everything
    refused(copied, rf"can't be loaded \(\[Errno 13\] Permission denied: '.*/{name}'\); give a local folder")


@pytest.mark.parametrize("damaged", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_a_damaged_file(copied: Path, damaged: str) -> None:
    file = copied / damaged
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    refused(copied, r"can't be loaded \(.+\); give a local folder or hub id")


def test_a_processor_without_a_size(copied: Path) -> None:
    write_processor(copied, size=None)
    refused(copied, r"can't be loaded \(KeyError 'size'\)")


def test_weights_that_are_not_there_are_not_made_up(copied: Path) -> None:
    tensors = load_file(copied / "model.safetensors")
    del tensors["vision_model.encoder.layers.0.mlp.fc1.weight"]
    save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
    refused(copied, r"its weights lack 1 tensors of CLIPVisionModelWithProjection, such as vision_model\.enc.*fc1")


def test_weights_of_another_size(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    config["vision_config"]["projection_dim"] = config["projection_dim"] = WIDTH + 1
    (copied / "config.json").write_text(json.dumps(config))
    refused(copied, r"can't be loaded \(.+\); give")


def test_a_picture_size_that_the_network_does_not_take(copied: Path) -> None:
    write_processor(copied, size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    refused(copied, r"gives no feature vector for a picture of 64x64 \(.+\); name an image network")


def test_a_network_that_sees_no_pictures(tmp_path: Path) -> None:
    config = transformers.BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    transformers.BertModel(config).save_pretrained(tmp_path)
    write_processor(tmp_path)
    refused(tmp_path, r"gives no feature vector for a picture of 32x32 \(.+\); name an image network")


def test_a_hub_id_that_can_not_be_had_is_one_line_at_once(tmp_path: Path) -> None:
    command = "from stpr.train.model.backbone import load_backbone; load_backbone('nobody/nothing')"
    surroundings = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", command], env=surroundings, capture_output=True, text=True, check=False)
    said = run.stderr.strip().splitlines()[-1]
    assert "RecipeError: [backbone] source 'nobody/nothing' can't be loaded (" in said
    assert said.endswith("copy that folder here and add `--set backbone.source=nothing`.")
    assert "`hf download nobody/nothing --local-dir nothing`" in said


def test_a_real_mobilenet_keeps_its_features(shared_data: Path) -> None:
    folder = shared_data / "backbones" / "mobilenet_v2"
    backbone = load_backbone(str(folder))
    assert (backbone.width, backbone.spec.resize, backbone.spec.crop_fraction) == (1280, "crop", 0.875)
    pixels = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(backbone(pixels), own_features(folder, pixels))


def test_it_is_a_module_of_one_network() -> None:
    backbone = load_backbone("tiny")
    assert isinstance(backbone, Backbone)
    assert {name.split(".")[0] for name in backbone.state_dict()} == {"network"}


@pytest.mark.parametrize(
    ("value", "said"),
    [(torch.nan, "its weights contain NaN or infinity, in "), (1e28, r"its weights are as large as 1e\+28, in ")],
)
def test_weights_that_are_no_numbers_or_absurd_are_refused(
    tmp_path: Path, resnet_folder: Path, value: float, said: str
) -> None:
    folder = shutil.copytree(resnet_folder, tmp_path / "network")
    weights = load_file(folder / "model.safetensors")
    name = next(name for name, value in weights.items() if value.is_floating_point())
    weights[name] = torch.full_like(weights[name], value)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RecipeError, match=rf"can't be loaded \({said}"):
        load_backbone(str(folder))


def test_a_network_that_wants_blue_first_sees_what_its_processor_shows_it(tmp_path: Path) -> None:
    config = transformers.MobileViTConfig(
        image_size=64, hidden_sizes=[16, 16, 16], neck_hidden_sizes=[8, 8, 8, 8, 8, 8, 16], num_attention_heads=1
    )
    network = transformers.MobileViTModel(config).eval()
    network.save_pretrained(tmp_path)
    processor = transformers.MobileViTImageProcessor(
        size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}, do_flip_channel_order=True
    )
    processor.save_pretrained(tmp_path)
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)  # of its size: nothing is resized
    encoder = FrameEncoder(backbone=load_backbone(str(tmp_path)), adapter=AdapterSettings(place="none"), projection=0)
    seen: list[torch.Tensor] = []
    encoder.backbone.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    encoder(torch.from_numpy(picture[None]))
    assert torch.allclose(seen[0], processor(picture, return_tensors="pt").pixel_values, atol=1e-6)


@pytest.mark.parametrize("kind", ["ViT", "DeiT"])
def test_a_classifier_without_a_pooler_gives_its_cls_token(tmp_path: Path, kind: str) -> None:
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": SIDE, "patch_size": 8}
    torch.manual_seed(0)
    whole = getattr(transformers, f"{kind}ForImageClassification")(getattr(transformers, f"{kind}Config")(**size))
    whole.eval().save_pretrained(tmp_path)
    write_processor(tmp_path, size={"height": SIDE, "width": SIDE}, crop_size=None, do_center_crop=False)
    pixels = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        cls = whole.base_model(pixels).last_hidden_state[:, 0]
        torch.testing.assert_close(load_backbone(str(tmp_path))(pixels), cls)


def test_a_network_whose_library_is_missing_is_one_line(tmp_path: Path) -> None:
    config = {"model_type": "timm_wrapper", "architecture": "resnet18", "num_classes": 2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(RecipeError, match=r"can't be loaded \(TimmWrapperConfig requires the timm library") as caught:
        load_backbone(str(tmp_path))
    assert "\n" not in caught.value.message
