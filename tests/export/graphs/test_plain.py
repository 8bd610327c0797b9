"""Graphs are as plain as they can be, and their numbers are those of PyTorch."""

from __future__ import annotations

import numpy as np
import onnx_ir
import pytest
import torch
from torch import Tensor, nn

from stpr.export.graphs.plain import drop_allowzero
from tests.export.pieces import kinds, run, traced

SHAPES = {"Shape", "Range", "Expand", "ConstantOfShape"}


class Token(nn.Module):
    """A vector in front of every row, as vision transformers put one."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(shape))

    def forward(self, given: Tensor) -> Tensor:
        return torch.cat([self.token.expand(given.shape[0], 1, -1), given.float()], dim=1)


class Repeated(Token):
    def forward(self, given: Tensor) -> Tensor:
        return torch.cat([self.token.repeat(given.shape[0], 1, 1), given.float()], dim=1)


class Wider(nn.Module):
    """Repeated along other axes too."""

    def __init__(self) -> None:
        super().__init__()
        self.row = nn.Parameter(torch.randn(1, 1, 4))

    def forward(self, given: Tensor) -> Tensor:
        return self.row.expand(given.shape[0], 3, 4).contiguous() + 0 * given.float().sum()


class Alone(nn.Module):
    """The widened tensor is the output itself."""

    def __init__(self) -> None:
        super().__init__()
        self.row = nn.Parameter(torch.randn(4))

    def forward(self, given: Tensor) -> Tensor:
        return self.row.expand(given.shape[0], 4).clone()


class Numbers(nn.Module):
    """Of another type than the input."""

    def forward(self, given: Tensor) -> Tensor:
        order = torch.arange(3).expand(given.shape[0], 3)
        return torch.cat([order, given[:, 0, :2].long()], dim=1)


class Truths(nn.Module):
    def forward(self, given: Tensor) -> Tensor:
        seen = (torch.arange(3)[:, None] > torch.arange(2)[None]).expand(given.shape[0], 3, 2)
        return torch.cat([seen, given[:, :3, :1] > 0], dim=2)


class Masked(nn.Module):
    """Attention under a mask, `open` or one that leaves keys out."""

    def __init__(self, *, is_open: bool) -> None:
        super().__init__()
        self.ahead = 3 if is_open else 0

    def forward(self, given: Tensor) -> Tensor:
        mask = (torch.arange(3)[:, None] + self.ahead >= torch.arange(3)).expand(given.shape[0], 1, 3, 3)
        query = given.float()[:, None] / 256
        return nn.functional.scaled_dot_product_attention(query, query + 1, query - 1, attn_mask=mask)


class Pooled(nn.Module):
    """Of pictures whose channels come last, PyTorch says the mean's strides too."""

    def forward(self, given: Tensor) -> Tensor:
        picture = (given.float()[..., None] * torch.tensor([1.0, 2.0])).permute(0, 3, 1, 2)
        return nn.functional.adaptive_avg_pool2d(picture, 1).flatten(1)


@pytest.mark.parametrize(
    "module",
    [
        Token(4),
        Token(1, 1, 4),
        Repeated(1, 1, 4),
        Wider(),
        Alone(),
        Numbers(),
        Truths(),
        Masked(is_open=False),
        Pooled(),
    ],
    ids=lambda module: type(module).__name__,
)
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_what_is_as_long_as_the_batch_asks_for_no_shape(module: nn.Module, kind: torch.dtype) -> None:
    model = traced(module, torch.zeros(2, 3, 4, dtype=kind))
    assert not SHAPES & set(kinds(model))
    for batch in (1, 2, 5):
        given = torch.randint(0, 256, (batch, 3, 4)).to(kind)
        (found,) = run(model, given)
        wanted = module(given).detach().numpy()
        assert found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_a_mask_that_leaves_nothing_out_is_left_out() -> None:
    closed, opened = (traced(Masked(is_open=is_open), torch.zeros(2, 3, 4)) for is_open in (False, True))
    assert "Where" in kinds(closed)
    assert set(kinds(opened)) == {"Div", "Unsqueeze", "Add", "Sub", "Transpose", "Mul", "MatMul", "Softmax"}
    given = 255 * torch.rand(5, 3, 4)
    (found,) = run(opened, given)
    np.testing.assert_allclose(found, Masked(is_open=True)(given).numpy(), rtol=1e-5)


def test_bytes_are_read_by_a_cast_alone() -> None:
    model = traced(Token(1, 1, 4), torch.zeros(2, 3, 4, dtype=torch.uint8))
    readers = [node.op_type for node in model.graph.node if "given" in node.input]
    assert readers == ["Cast"]


@pytest.mark.parametrize(("shape", "left"), [((-1, 2, 2), False), ((0, 4), True)])
def test_allowzero_is_left_where_it_says_something(shape: tuple[int, ...], left: bool) -> None:
    sizes = onnx_ir.tensor(np.array(shape, np.int64), name="sizes")
    given, sized = (onnx_ir.Value(name=name) for name in ("given", "sizes"))
    sized.const_value = sizes
    node = onnx_ir.node("Reshape", [given, sized], {"allowzero": 1})
    graph = onnx_ir.Graph([given], node.outputs, nodes=[node], initializers=[sized])
    drop_allowzero(onnx_ir.Model(graph, ir_version=10))
    assert ("allowzero" in node.attributes) == left


def test_an_output_that_is_read_inside_has_a_node_of_its_own() -> None:
    class Both(nn.Module):
        def forward(self, given: Tensor) -> tuple[Tensor, Tensor]:
            first = given.exp()
            return first, first + 1

    model = traced(Both(), torch.zeros(2, 3), ("first", "second"))
    read = {name for node in model.graph.node for name in node.input}
    assert not read & {"first", "second"}
    given = torch.randn(4, 3)
    for found, wanted in zip(run(model, given), Both()(given), strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-6)
