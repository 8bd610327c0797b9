"""The networks used for estimates: the recipe's own, a random one of its form, or a tiny one that counts frames."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import accelerate
import huggingface_hub
import torch
import transformers
from torch import Tensor, nn

from stpr.runtime.contract.errors import RecipeError
from stpr.runtime.contract.preprocess import PreprocessSpec
from stpr.train.estimate.footprint import checkpoint_bytes
from stpr.train.learning.inputs import FrozenFeatures
from stpr.train.learning.stage_clips import StageClips
from stpr.train.methods.build import build_model, settle
from stpr.train.methods.stage_start import class_vectors_of
from stpr.train.model.backbone import Backbone, load_backbone, resolve_source
from stpr.train.model.stpr import StPR
from stpr.train.settings.automatic import resolve
from stpr.train.settings.recipe import Recipe

FORMS: Final[Mapping[str, Mapping[str, int]]] = {  # where a network differs from the default CLIP of transformers
    "openai/clip-vit-base-patch16": {"patch_size": 16},
    "openai/clip-vit-base-patch32": {},
}
CLIP_SPEC: Final = PreprocessSpec(
    height=224,
    width=224,
    resize="crop",
    crop_fraction=1.0,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)
WEIGHTS: Final = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
WIDTH: Final = 8  # of every layer of the counting network
ONE_PIXEL: Final = PreprocessSpec(
    height=1, width=1, resize="stretch", crop_fraction=1.0, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
)


@dataclass(frozen=True, slots=True)
class Network:
    """A recipe's network, as far as it is available on this machine."""

    recipe: Recipe
    here: bool
    form: StPR | None  # before its first stage; on the meta device if not `here`, None if its form is unknown

    def to_measure(self) -> StPR | None:
        """A network to time, with random weights if its own are not here; timing may change it."""
        if self.here or self.form is None:
            return self.form
        with torch.device(accelerate.PartialState().device):
            return build_model(self.recipe, _in_form(self.recipe))

    def checkpoint_sizes(self, classes: Sequence[Sequence[str]]) -> list[int]:
        """Bytes of each stage's checkpoint for stages of `classes`; empty if the network's form is unknown."""
        return checkpoint_bytes(self.recipe, self.form.encoder, classes) if self.form else []

    def check(self, classes: Sequence[Sequence[str]]) -> None:
        """Raise RecipeError if the network is not here, or lacks the text tower that class vectors need."""
        source = self.recipe.backbone.source
        if not self.here:
            fetch = shlex.join(["hf", "download", source])
            raise RecipeError(
                f"[backbone] source: {source} is not on this machine. A run would download it if the hub is reachable;"
                f" fetch it now ({fetch}), or name a local folder."
            )
        if self.form and self.recipe.class_vectors.kind == "text" and classes:
            frames = torch.empty(0, 1, self.recipe.sampling.frames, self.form.encoder.frozen_width)
            nothing = FrozenFeatures(frames, torch.empty(0))
            class_vectors_of(StageClips(tuple(classes[0][:1]), nothing, self.form.encoder), self.recipe)


def settle_offline(recipe: Recipe) -> tuple[Recipe, list[str]]:
    """`settle` without downloads: "auto" stays for a network that is neither here nor of a known form."""
    source = recipe.backbone.source
    if _is_here(source):
        return settle(recipe)
    if source not in FORMS:
        return recipe, []
    with torch.device("meta"):
        return resolve(recipe, _in_form(recipe).traits)


def look_for_network(recipe: Recipe) -> Network:
    """Load the network if it is on this machine. Raises RecipeError if it doesn't load or fit the recipe."""
    source = recipe.backbone.source
    if _is_here(source):
        return Network(recipe, True, build_model(recipe, load_backbone(source, recipe.backbone.inner)))
    with torch.device("meta"):
        return Network(recipe, False, build_model(recipe, _in_form(recipe)) if source in FORMS else None)


def _is_here(source: str) -> bool:
    """Whether a network can be loaded without a download; a folder without one is left for the loader to report."""
    place = resolve_source(source)
    if place.startswith((".", "/")) or place.count("/") > 1 or Path(place).is_dir():
        return True
    try:
        cached = [huggingface_hub.try_to_load_from_cache(place, name) for name in ("config.json", *WEIGHTS)]
    except ValueError:  # not a valid hub id
        return True
    return isinstance(cached[0], str) and any(isinstance(file, str) for file in cached[1:])


def _in_form(recipe: Recipe) -> Backbone:
    source, inner = recipe.backbone.source, recipe.backbone.inner
    config: Any = transformers.CLIPVisionConfig(**FORMS[source])
    network = transformers.CLIPVisionModelWithProjection(config)
    return Backbone(network, CLIP_SPEC, source=source, inner=inner, text=True)


def counting_backbone(count: Callable[[int], None]) -> Backbone:
    """A tiny backbone that calls `count` with the number of frames in each forward pass without gradient."""
    return Backbone(_CountingNetwork(count), ONE_PIXEL, source="numbers")


class _CountingNetwork(nn.Module):
    """A tiny network with the interface of a transformer."""

    def __init__(self, count: Callable[[int], None]) -> None:
        super().__init__()
        self.count = count
        self.enter = nn.Linear(3, WIDTH)
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList([_Block()])

    def forward(self, pixels: Tensor) -> SimpleNamespace:
        if not torch.is_grad_enabled():
            self.count(len(pixels))
        features = self.enter(pixels.flatten(1))
        for block in self.encoder.layers:  # type: ignore[union-attr]
            features = block(features)
        return SimpleNamespace(pooler_output=features)


class _Block(nn.Module):
    """A block that an adapter can be inserted into."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Linear(WIDTH, WIDTH)

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = features + self.mlp(features)
        return out
