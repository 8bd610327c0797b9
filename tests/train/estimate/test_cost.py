"""Counted work against the work that is really done, and predicted sizes against real checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stpr.train.data.clips import load_draws
from stpr.train.data.stages import Stage
from stpr.train.estimate.cost import Clips, Work, checkpoint_bytes, measure, work_of
from stpr.train.learning.distributed import ALONE
from stpr.train.methods import METHODS
from stpr.train.run.checkpoint import build_model, kept_tensors
from stpr.train.settings.recipe import Recipe
from tests.factories import make_video
from tests.train.networks import SIDE
from tests.train.synthetic import FRAMES, OURS, STAGES, learn, make_fit, make_recipe

TRAIN, TEST = 5, 3  # clips of a stage
BLOCKS: dict[str, Any] = {
    "adapter": {"place": "blocks", "bottleneck": 2},
    "class_vectors": {"kind": "codes"},
    "optimizer": {"batch": 4, "epochs_first": 3, "epochs_later": 2},
}
PLAN = [
    (Stage(n, names), Clips(TRAIN, TEST, TEST * (n - 1), TRAIN * (n - 1))) for n, names in enumerate(STAGES, start=1)
]


class Counted:
    """Random clips that count how often one of them is asked for."""

    processes = ALONE

    def __init__(self, stage: int, clips: int) -> None:
        self.labels = 2 * stage - 2 + torch.arange(clips) % 2
        self.asked = 0

    def epoch(self, number: int, *, batch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        del seed, number
        yield from zip(self.centre(batch=batch), torch.split(self.labels, batch), strict=True)

    def centre(self, *, batch: int) -> Iterator[Tensor]:
        for labels in torch.split(self.labels, batch):
            self.asked += len(labels)
            yield torch.randint(256, (len(labels), FRAMES, SIDE, SIDE, 3), dtype=torch.uint8)

    def take(self, rows: Tensor) -> Counted:
        raise NotImplementedError  # nothing is held out here


@pytest.mark.parametrize(
    "tables",
    [
        {},
        {"preservation": {"weight": 0.0}},
        {"preservation": {"classes": "old"}},
        {"class_vectors": {"kind": "prototypes"}, "backbone": {"projection": 8}},
        {"method": "finetune"},
        {"method": "lwf"},
        {"method": "ewc"},
        {"method": "nearest_mean"},
        {"method": "streaming_lda"},
        {"method": "ranpac", "class_vectors": {"kind": "prototypes"}},
        {"method": "spatial", "preservation": {"classes": "old"}},
        {"method": "joint", "class_vectors": {"kind": "prototypes"}, "backbone": {"projection": 8}},
        {"router": {"kind": "clip_key"}},
    ],
)
def test_the_work_of_adapters_in_the_blocks_is_what_is_really_done(clip_folder: Path, tables: dict[str, Any]) -> None:
    backbone = {"source": str(clip_folder), **tables.get("backbone", {})}
    recipe = make_recipe(**{**BLOCKS, **tables, "backbone": backbone})
    model = build_model(recipe)
    frames = {True: 0, False: 0}  # with a gradient to come, and without

    def count(_: Any, pixels: tuple[Tensor]) -> None:
        frames[torch.is_grad_enabled()] += len(pixels[0])

    model.encoder.backbone.register_forward_pre_hook(count)
    asked, tests = 0, []
    for stage, clips in PLAN:
        if recipe.revisits and stage.index > 1:  # a fresh network; of all clips so far their number alone matters here
            model = build_model(recipe)
            model.encoder.backbone.register_forward_pre_hook(count)
        inputs = Counted(1, TRAIN + clips.revisited) if recipe.revisits else Counted(stage.index, TRAIN)
        fitted = make_fit(recipe, 1 if recipe.revisits else stage.index)
        METHODS[recipe.method](model, stage.classes, inputs, recipe, fitted)
        tests.append(Counted(stage.index, TEST))
        with torch.no_grad():
            for held in tests:
                for batch in held.centre(batch=2):
                    model(batch)
        asked += inputs.asked
    # The frozen copy that a stage looks back with carries the hook along, so it is counted too.
    assert work_of(recipe, PLAN) == Work(
        asked + sum(held.asked for held in tests), frames[False], frames[True] // FRAMES
    )


def test_frozen_clips_are_encoded_once() -> None:
    recipe = make_recipe(sampling={"draws": 2}, optimizer={"epochs_first": 6, "epochs_later": 3})
    encoded = FRAMES * (3 * TRAIN + TEST)
    assert work_of(recipe, PLAN[:1]) == Work(TRAIN + TEST, encoded, 6 * TRAIN)
    assert work_of(recipe, PLAN) == Work(3 * (TRAIN + TEST), 3 * encoded, 12 * TRAIN)
    taken_up = Work(TRAIN + 2 * TEST, encoded + FRAMES * TEST, 3 * TRAIN)  # earlier test clips are encoded anew
    assert work_of(recipe, PLAN[1:2]) == taken_up


@pytest.mark.parametrize(
    "tables",
    [
        {"adapter": {"place": "feature", "bottleneck": 8}},
        {"expert": {"start": "fresh"}, "preservation": {"classes": "old"}, "backbone": {"projection": 16}},
        OURS,
        {"method": "finetune"},
        {"method": "ewc", "adapter": {"place": "feature", "bottleneck": 8}},
        {"method": "nearest_mean"},
        *({"method": method} for method in ("streaming_lda", "ranpac", "linear_probe")),
        {"method": "spatial", "preservation": {"classes": "old"}, "adapter": {"place": "feature", "bottleneck": 8}},
        {"router": {"kind": "adapter_key"}},
    ],
)
def test_checkpoints_are_as_large_as_foretold(tables: dict[str, Any]) -> None:
    recipe = make_recipe(**{"optimizer": {"epochs_first": 1, "epochs_later": 1}, **tables})
    real = [sum(value.nbytes for value in kept_tensors(model).values()) for model, _ in learn(recipe)]
    assert checkpoint_bytes(recipe, build_model(recipe).encoder, [stage for stage, _ in PLAN]) == real


def rates_of(recipe: Recipe, video: Path | None) -> tuple[float, float, float | None]:
    rates = measure(recipe, build_model(recipe), video)
    assert rates.device.startswith(("cpu, 1 thread", "NVIDIA"))
    return rates.encode, rates.learn, rates.decode


def test_rates_are_measured(tmp_path: Path) -> None:
    recipe = make_recipe(sampling={"draws": 1})
    video = make_video(tmp_path / "a.mp4", frames=20)
    encode, step, decode = rates_of(recipe, video)
    assert 0 < encode < 1
    assert 0 < step < 1
    assert decode is not None
    spec = build_model(recipe).encoder.backbone.spec
    load_draws(video, draws=1, frames=FRAMES, spec=spec, augment=None, seed=0)
    assert 0 < decode < 1


def test_what_trains_nothing_takes_no_steps() -> None:
    _, step, decode = rates_of(make_recipe(method="nearest_mean", sampling={"draws": 0}), None)
    assert step < 1e-4
    assert decode is None
