"""Rates are measured on the real thing, and predicted sizes are those of real checkpoints."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState

from stpr.runtime.contract.errors import RecipeError
from stpr.train.data.clips import load_draws
from stpr.train.estimate import cost, network
from stpr.train.estimate.cost import measure
from stpr.train.estimate.footprint import checkpoint_bytes
from stpr.train.estimate.network import Network
from stpr.train.learning import frozen_pass
from stpr.train.methods.build import build_model
from stpr.train.model.backbone import load_backbone
from stpr.train.model.encoder import FrameEncoder
from stpr.train.run.checkpoint import kept_tensors
from stpr.train.settings.learning import SamplingSettings
from stpr.train.settings.recipe import Recipe
from tests.factories import make_video
from tests.train.synthetic import FRAMES, OURS, STAGES, learn, make_recipe


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
    assert checkpoint_bytes(recipe, build_model(recipe).encoder, STAGES) == real


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
    spec = build_model(recipe).encoder.pixels
    load_draws(video, draws=1, spec=spec, sampling=SamplingSettings(frames=FRAMES), seed=0)
    assert 0 < decode < 1


def test_what_is_done_once_is_no_part_of_a_frames_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(encoder: FrameEncoder, frame: torch.Tensor) -> Any:
        del frame
        time.sleep(1.5)
        return lambda row: encoder.frozen(row[None])[0]

    monkeypatch.setattr(frozen_pass, "_on_onnxruntime", slowly)
    encode, _, _ = rates_of(make_recipe(adapter={"place": "feature", "bottleneck": 8}), None)
    assert 0 < encode < 1.5 / FRAMES / 2


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_is_timed_in_the_recipes_precision(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)  # within a process the library keeps to its first precision
    recipe = make_recipe(adapter={"place": "feature", "bottleneck": 8}, optimizer={"precision": precision})
    monkeypatch.setattr(network, "_in_form", lambda recipe: load_backbone(recipe.backbone.source))
    model, mixed = Network(recipe, here=False, form=build_model(recipe)).to_measure(), set()
    assert model is not None
    model.encoder.register_forward_hook(lambda *_: mixed.add(torch.is_autocast_enabled("cpu")))
    measure(recipe, model, None)
    AcceleratorState._reset_state(reset_partial_state=True)
    assert (True in mixed) == (precision == "bf16")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU computes in fp16")
def test_a_precision_that_the_device_lacks_is_told() -> None:
    with pytest.raises(RecipeError, match=r'precision = "fp16" needs a GPU'):
        rates_of(make_recipe(optimizer={"precision": "fp16"}), None)


@pytest.mark.parametrize(("device", "counts"), [("cpu", True), ("meta", False)])
def test_a_slow_first_call_counts_where_later_calls_are_as_slow(device: str, counts: bool) -> None:
    """On a CPU they are; any other device first loads its kernels, 1.7 s on an H200 for a step that takes 0.1 s."""
    calls: list[float] = []

    def work() -> None:
        time.sleep(0.01 if calls else 1.1 * cost.ENOUGH_SECONDS)
        calls.append(0)

    assert (cost._seconds(work, torch.device(device)) > cost.ENOUGH_SECONDS) == counts
    assert (len(calls) == 1) == counts


def test_what_trains_nothing_takes_no_steps() -> None:
    _, step, decode = rates_of(make_recipe(method="nearest_mean", sampling={"draws": 0}), None)
    assert step < 1e-4
    assert decode is None
