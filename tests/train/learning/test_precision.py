"""Mixed precision: forward and backward in it, weights and answers in float32; one stage on a CUDA device."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from accelerate.state import AcceleratorState

from stpr.runtime.contract.errors import RecipeError
from stpr.train.learning.distributed import Processes
from stpr.train.learning.fit import check_precision
from stpr.train.learning.inputs import FrozenFeatures
from stpr.train.methods.build import build_model
from stpr.train.run.checkpoint import kept_tensors
from tests.train.synthetic import ADAPTED, OURS, STAGES, accuracy, learn, learn_one, make_inputs, make_recipe

SETTINGS = {**OURS, **ADAPTED}


@pytest.fixture(autouse=True)
def _a_precision_of_its_own() -> Iterator[None]:
    """Within one process the library keeps to the first precision that it was asked for."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("method", ["stpr", "ewc"])
def test_bfloat16_learns_and_leaves_float32(method: str) -> None:
    recipe = make_recipe(**{**SETTINGS, "optimizer": {"precision": "bf16"}}, method=method)
    for number, (model, curves) in enumerate(learn(recipe, stages=2), start=1):
        assert curves[-1]["contrast_st"] < curves[0]["contrast_st"]
        assert accuracy(model, number) > 0.6  # chance is a half, then a quarter
        assert {value.dtype for value in kept_tensors(model).values()} == {torch.float32}
        with torch.no_grad():
            assert model.head.experts[-1](model.encoder(make_inputs(1).features[:, 0])).dtype == torch.float32


def test_bfloat16_is_not_float32() -> None:
    exact, rough = ({**SETTINGS, "optimizer": {"precision": kind}} for kind in ("fp32", "bf16"))
    curves = []
    for tables in (exact, rough):
        AcceleratorState._reset_state(reset_partial_state=True)
        curves.append(next(learn(make_recipe(**tables), stages=1))[1][-1]["contrast_st"])
    assert curves[0] != curves[1]
    assert curves[0] == pytest.approx(curves[1], rel=0.2)


def test_what_a_device_can_not_do_is_told() -> None:
    with pytest.raises(RecipeError, match=r'precision = "fp16" needs a GPU; use "bf16" or "fp32" on a CPU\.'):
        check_precision("fp16", torch.device("cpu"))
    check_precision("bf16", torch.device("cpu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_two_stages_on_a_cuda_device(precision: str) -> None:
    recipe = make_recipe(**{**SETTINGS, "optimizer": {"precision": precision}})
    processes = Processes(device=torch.device("cuda", 0))
    torch.manual_seed(recipe.seed)
    model = build_model(recipe).to(processes.device)
    for stage in (1, 2):
        whole = make_inputs(stage)
        inputs = FrozenFeatures(whole.features, whole.labels, processes)
        curves = learn_one(model, STAGES[stage - 1], inputs, recipe, stage)
        assert curves[-1]["contrast_st"] < curves[0]["contrast_st"]
    assert {value.dtype for value in kept_tensors(model).values()} == {torch.float32}
    assert accuracy(model.cpu(), 2) > 0.8
