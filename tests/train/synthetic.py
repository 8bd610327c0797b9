"""Stages of made-up frame features, learnt in milliseconds: a class is a place and a drift in feature space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from stpr.train.learning.fit import OnEpoch, Sgd, Terms
from stpr.train.learning.inputs import FrozenFeatures, PixelClips, StageInputs, all_stages
from stpr.train.learning.stage_clips import StageClips
from stpr.train.methods import method_of
from stpr.train.methods.build import build_model
from stpr.train.model.combiners.fusion import Fusion
from stpr.train.model.head import Head
from stpr.train.model.stpr import StPR
from stpr.train.settings.load import parse_recipe
from stpr.train.settings.recipe import Recipe

FRAMES, WIDTH = 4, 64  # the tiny backbone's width
STAGES = (("a", "b"), ("c", "d"), ("e", "f"))
ADAPTED = {"adapter": {"place": "feature", "bottleneck": 8}}
OURS = {
    "class_vectors": {"kind": "codes"},
    "router": {"kind": "likelihood"},
    "fusion": {"static": 0.0, "evidence": 0.5},
    "contrast": {"temperature": 0.05, "spatial": False},
}


def make_recipe(**tables: Any) -> Recipe:
    """A small expert on prototypes; tables replace those of the same name, key by key."""
    base: dict[str, Any] = {
        "name": "made-up",
        "data": {"kind": "folder", "root": "nowhere"},
        "stages": {"classes": [list(classes) for classes in STAGES]},
        "backbone": {"source": "tiny", "projection": 0},
        "sampling": {"frames": FRAMES},
        "class_vectors": {"kind": "prototypes"},
        "adapter": {"place": "none"},
        "expert": {"layers": 1, "width": 0, "mlp_ratio": 1},
        "contrast": {"temperature": 0.05},
        "ranpac": {"projection": 100},
        "optimizer": {"batch": 12, "epochs_first": 6, "epochs_later": 6},
    }
    for name, table in tables.items():
        base[name] = {**base.get(name, {}), **table} if isinstance(table, dict) else table
    return parse_recipe(base, where="made up")


def make_features(stage: int, *, clips: int = 12, split: int = 0) -> tuple[Tensor, Tensor]:
    """Frozen features `(n, T, W)` and labels of a stage from 1; splits differ in their noise alone."""
    places = torch.randn(6, 2, WIDTH, generator=torch.Generator().manual_seed(99))
    noise = torch.Generator().manual_seed(10 * stage + split)
    labels = torch.tensor([2 * stage - 2, 2 * stage - 1]).repeat_interleave(clips)
    time = torch.linspace(-1, 1, FRAMES)[:, None]
    clean = 0.3 * places[labels, 0, None] + 1.5 * time * places[labels, 1, None]
    return clean + 0.5 * torch.randn(clean.shape, generator=noise), labels


def make_inputs(stage: int, *, clips: int = 12, draws: int = 2) -> FrozenFeatures:
    """A stage's training clips: the centre view and random draws that differ a little from it."""
    features, labels = make_features(stage, clips=clips)
    noise = torch.Generator().manual_seed(stage)
    views = [features + 0.1 * torch.randn(features.shape, generator=noise) for _ in range(draws)]
    return FrozenFeatures(torch.stack([features, *views], dim=1), labels)


def widened(features: Tensor, width: int) -> Tensor:
    """Frozen features with columns of inner layers and motion behind those of the backbone, which show as much."""
    if width == features.shape[-1]:
        return features
    mixing = torch.randn(features.shape[-1], width - features.shape[-1], generator=torch.Generator().manual_seed(98))
    return torch.cat([features, features @ mixing / features.shape[-1] ** 0.5], dim=-1)


def make_fit(recipe: Recipe, stage: int, on_epoch: OnEpoch | None = None) -> Sgd:
    torch.manual_seed(recipe.seed * 1000 + stage)
    settings = recipe.optimizer
    return Sgd(
        epochs=settings.epochs_first if stage == 1 else settings.epochs_later,
        optimizer=settings,
        seed=recipe.seed * 1000 + stage,
        on_epoch=on_epoch or (lambda *_: None),
    )


def learn_one(model: StPR, classes: tuple[str, ...], inputs: StageInputs, recipe: Recipe, stage: int) -> list[Terms]:
    """Let the recipe's method learn one stage, from all of its clips."""
    clips = StageClips(classes, inputs, model.encoder)
    return method_of(recipe).learn(model, clips, recipe, make_fit(recipe, stage))


def fusion_of(model: StPR | Head) -> Fusion:
    """The combiner of a head with experts."""
    combiner = (model.head if isinstance(model, StPR) else model).combiner
    assert isinstance(combiner, Fusion)
    return combiner


def learn(recipe: Recipe, *, stages: int = 3, clips: int = 12) -> Iterator[tuple[StPR, list[Terms]]]:
    """The network and its loss curves after each stage; one and the same unless the method starts over."""
    for stage in range(1, stages + 1):
        classes: tuple[str, ...] = STAGES[stage - 1]
        made = make_inputs(stage, clips=clips)
        if stage == 1 or method_of(recipe).keeps_videos:
            torch.manual_seed(recipe.seed)
            model = build_model(recipe)
            for axes in model.encoder.backbone.axes:  # there are no pictures to learn them from
                axes.copy_(torch.linalg.qr(torch.randn_like(axes))[0])
        made.features = widened(made.features, model.encoder.frozen_width)
        inputs: FrozenFeatures | PixelClips = made
        if method_of(recipe).keeps_videos:
            classes = tuple(name for names in STAGES[:stage] for name in names)
            inputs = all_stages([make_inputs(number, clips=clips) for number in range(1, stage + 1)])
        curves = learn_one(model, classes, inputs, recipe, stage)
        yield model.eval(), curves


def learnt(recipe: Recipe, *, stages: int = 3, clips: int = 12) -> StPR:
    """The network after the last of these stages."""
    return list(learn(recipe, stages=stages, clips=clips))[-1][0]


@torch.no_grad()
def accuracy(model: StPR, stage: int) -> float:
    """On unseen clips of a stage, all classes so far competing."""
    features, labels = make_features(stage, clips=20, split=1)
    return float((model(features)[0].argmax(dim=1) == labels).float().mean())
