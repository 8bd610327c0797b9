"""Backbones small enough for a test, written as `save_pretrained` writes real ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import torch
import transformers

BPE = Path(__file__).parents[3] / "shared" / "data" / "clip_bpe" / "bpe_simple_vocab_16e6.txt.gz"
MERGES = 1500  # of the real list: enough for whole words, small enough for a tiny embedding
START, END = "<|startoftext|>", "<|endoftext|>"
SIDE, WIDTH = 32, 24


def quietly() -> None:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def write_processor(folder: Path, **changes: Any) -> None:
    processor = {
        "size": {"shortest_edge": SIDE},
        "crop_size": {"height": SIDE, "width": SIDE},
        "do_center_crop": True,
        "image_mean": [0.48, 0.46, 0.41],
        "image_std": [0.27, 0.26, 0.28],
    }
    settings = {key: value for key, value in {**processor, **changes}.items() if value is not None}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")


def write_clip(folder: Path, *, vision_only: bool = False, tokenizer: bool = True, half: bool = False) -> Path:
    """A CLIP of two layers a side."""
    quietly()
    torch.manual_seed(0)
    words = make_tokenizer()
    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {**size, "image_size": SIDE, "patch_size": 8, "projection_dim": WIDTH, "initializer_factor": 4.0}
    text = {
        **size,
        "vocab_size": len(words),
        "max_position_embeddings": 77,  # as CLIP has: single letters make long prompts
        "projection_dim": WIDTH,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    network = (
        transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**vision))
        if vision_only
        else transformers.CLIPModel(
            transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH)
        )
    )
    (network.half() if half else network).save_pretrained(folder)
    if tokenizer:
        words.save_pretrained(folder)
    write_processor(folder)
    return folder


def make_tokenizer() -> Any:
    """CLIP's tokenizer with the first real merges where they are at hand, else with single letters alone."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters = [chr(byte) for byte in printable] + [chr(256 + index) for index in range(256 - len(printable))]
    merges: list[tuple[str, ...]] = []
    if BPE.is_file():
        lines = gzip.decompress(BPE.read_bytes()).decode("utf-8").splitlines()
        merges = [tuple(line.split()) for line in lines[1 : MERGES + 1]]
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges), START, END]
    vocabulary = {word: index for index, word in enumerate(words)}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=merges)


def write_mobilenet(folder: Path) -> Path:
    quietly()
    torch.manual_seed(0)
    config = transformers.MobileNetV2Config(image_size=SIDE, depth_multiplier=0.35, finegrained_output=False)
    network = transformers.MobileNetV2Model(config)
    _unsettle(network)
    network.save_pretrained(folder)
    write_processor(folder, size={"shortest_edge": 40})
    return folder


def write_resnet(folder: Path) -> Path:
    quietly()
    torch.manual_seed(0)
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    network = transformers.ResNetModel(config)
    _unsettle(network)
    network.save_pretrained(folder)
    write_processor(folder, crop_size=None, do_center_crop=None, crop_pct=0.875)
    return folder


TRANSFORMERS = {"vit": 2, "deit": 2, "dinov2": 2, "dinov2_with_registers": 2, "beit": 2, "swin": 2}  # their blocks


def write_network(folder: Path, kind: str) -> Path:
    """A network of two blocks of any kind of `transformers`, of random weights."""
    quietly()
    torch.manual_seed(0)
    plain = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIDE, "patch_size": 8}
    form = {
        "swin": {
            "image_size": SIDE,
            "patch_size": 4,
            "embed_dim": 16,
            "depths": [1, 1],
            "num_heads": [2, 2],
            "window_size": 4,
        },
        "convnext": {"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2},
    }
    config = transformers.AutoConfig.for_model(kind, **form.get(kind, plain))
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    if kind == "convnext":  # its processor knows one size alone, and cuts a share of it
        write_processor(folder, size={"shortest_edge": SIDE}, crop_size=None, do_center_crop=None, crop_pct=0.875)
    else:
        write_processor(folder, size={"height": SIDE, "width": SIDE}, crop_size=None, do_center_crop=False)
    return folder


def _unsettle(network: Any) -> None:
    """Let batch norms see some pictures, so that evaluation mode shows and signals get through."""
    with torch.no_grad():
        for _ in range(20):
            network.train()(torch.randn(8, 3, SIDE, SIDE))
    network.eval()


PLAIN = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
SEES = {**PLAIN, "image_size": 224, "patch_size": 16}
ANY_NETWORK: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
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


def write_any_network(folder: Path, kind: str) -> Any:
    """A small network of that kind as users have it, with its own processor, which is returned."""
    quietly()
    torch.manual_seed(0)
    network, form, processor, settings = ANY_NETWORK[kind]
    made = getattr(transformers, f"{network}Model")(getattr(transformers, f"{network}Config")(**form))
    _let_see(made)
    made.save_pretrained(folder)
    own = getattr(transformers, f"{processor}ImageProcessorPil")(**settings)
    own.save_pretrained(folder)
    return own


def _let_see(network: Any) -> None:
    """Let batch norms see a few pictures, so that signals get through."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean of what it sees
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 224, 224))
    network.eval()
