"""Pieces of a model as ONNX: attention under a mask, and the frame encoder on each kind of network."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn import functional as F

from stpr.export.graphs.assemble import trace_pieces, write_onnx
from stpr.export.graphs.cut import Piece
from stpr.export.graphs.trace import trace
from stpr.train.methods import method_of
from stpr.train.methods.build import build_model
from tests.train.networks import TRANSFORMERS, write_network
from tests.train.synthetic import make_recipe

SHAPE = (2, 3, 4)  # heads, places, features of each


class Masked(nn.Module):
    """Attention in which places are hidden, or count for less."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.mask = mask

    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, 2 * x, 3 * x, attn_mask=self.mask)


@pytest.mark.parametrize(
    "mask",
    [
        torch.tensor([[True, False, False], [True, True, False], [True, True, True]]),
        torch.tensor([[0.0, -1.0, 2.0], [0.5, 0.0, -9.0], [1.0, 1.0, 1.0]]),
    ],
    ids=["hidden", "weighed"],
)
def test_attention_under_a_mask_is_that_of_pytorch(mask: Tensor) -> None:
    x, module = torch.randn(5, *SHAPE), Masked(mask).eval()
    traced = trace(Piece("attention", module, {"x": torch.zeros(2, *SHAPE)}, ("y",)))
    shown = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *SHAPE]) for name in ("x", "y")]
    graph = helper.make_graph(traced.nodes, "attention", shown[:1], shown[1:], list(traced.constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (found,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), module(x))


@torch.no_grad()
@pytest.mark.parametrize("kind", [*TRANSFORMERS, "convnext"])
def test_the_encoder_is_that_of_pytorch_on_every_kind_of_network(kind: str, tmp_path: Path) -> None:
    source = str(write_network(tmp_path / kind, kind))
    follows = {"adapter": {"place": "auto"}, "class_vectors": {"kind": "auto"}}
    recipe = make_recipe(backbone={"source": source, "inner": "auto"}, **follows)
    model = build_model(recipe)
    assert model.encoder.upstream_trains == (kind in TRANSFORMERS)  # adapters sit in its blocks
    for value in model.encoder.adapter_parameters():
        nn.init.normal_(value, std=0.2)
    method_of(recipe).grow(model, 2)
    model.eval()
    write_onnx(model, trace_pieces(model), tmp_path)
    frames = torch.randint(0, 256, (5, *model.encoder.pixels.picture_shape), dtype=torch.uint8)
    (found,) = onnxruntime.InferenceSession(tmp_path / "encoder.onnx").run(None, {"frames": frames.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), model.encoder(frames), atol=1e-4, rtol=1e-4)
