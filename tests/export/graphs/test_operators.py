"""Our own forms of operators: PyTorch's numbers, and what engines take for one node."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from torch import Tensor, nn
from torch.nn import functional as F

from tests.export.pieces import kinds, run, traced


class Gelu(nn.Module):
    def __init__(self, approximate: Literal["none", "tanh"]) -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, given: Tensor) -> Tensor:
        return F.gelu(given, approximate=self.approximate)


class Attention(nn.Module):
    """Of a tensor to itself, each row to what is not after it."""

    def __init__(self, mask: Literal["none", "truths", "numbers"]) -> None:
        super().__init__()
        self.mask = mask

    def forward(self, given: Tensor) -> Tensor:
        truths = torch.arange(3)[:, None] >= torch.arange(3)
        numbers = torch.where(truths, 0.0, -2.0).to(given)
        mask = {"none": None, "truths": truths, "numbers": numbers}[self.mask]
        heads = given.reshape(-1, 3, 2, 2).transpose(1, 2)
        return F.scaled_dot_product_attention(heads, heads, heads, attn_mask=mask)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_is_the_function_that_pytorch_has(approximate: Literal["none", "tanh"]) -> None:
    module, given = Gelu(approximate), torch.linspace(-6, 6, 600).reshape(100, 6)
    (found,) = run(traced(module, torch.zeros(2, 6)), given)
    np.testing.assert_allclose(found, module(given).numpy(), rtol=1e-6, atol=1e-6)


def test_onnxruntime_runs_a_gelu_as_one_node(tmp_path: Path) -> None:
    model = traced(Gelu("none"), torch.zeros(2, 6))
    assert kinds(model) == ["Div", "Erf", "Add", "Mul", "Mul"]
    run(model, torch.zeros(2, 6), optimised=tmp_path / "run.onnx")
    assert kinds(onnx.load(tmp_path / "run.onnx")) == ["Gelu"]


@pytest.mark.parametrize("mask", ["none", "truths", "numbers"])
def test_attention_is_that_of_pytorch_under_every_kind_of_mask(mask: Literal["none", "truths", "numbers"]) -> None:
    module, given = Attention(mask), torch.randn(5, 3, 4)
    (found,) = run(traced(module, torch.zeros(2, 3, 4)), given)
    np.testing.assert_allclose(found, module(given).numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("module", [Gelu("none"), Attention("none"), Attention("truths")], ids=str)
def test_numbers_of_our_own_are_of_the_type_of_what_they_meet(module: nn.Module) -> None:
    model = traced(module, torch.zeros(2, 3, 4, dtype=torch.float16))
    numbers = [constant for constant in model.graph.initializer if not constant.dims]
    assert numbers
    assert {constant.data_type for constant in numbers} == {TensorProto.FLOAT16}
    onnx.checker.check_model(model, full_check=True)
