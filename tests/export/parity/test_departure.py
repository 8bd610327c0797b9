"""Where a graph departs from PyTorch first: a wrong operator is named by its module, a right graph departs nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
import torch

from stpr.export.graphs.assemble import trace_pieces, write_onnx
from stpr.export.parity.departure import Part, first_departure
from stpr.train.model.stpr import StPR
from tests.export.models import head_settings, random_backbone, random_model

MODULE = {"clip": "backbone.network.vision_model.encoder.layers.1.layer_norm2", "mobilenet": "backbone.network.layer."}
OPERATOR = {"clip": "LayerNormalization", "mobilenet": "BatchNormalization"}


@pytest.mark.parametrize("kind", ["clip", "mobilenet"])
def test_a_right_graph_departs_nowhere_and_a_wrong_operator_is_named_by_its_module(
    kind: Literal["clip", "mobilenet"], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    settings = head_settings("likelihood")
    model: StPR = random_model(backbone=random_backbone(kind), stages=2, place="feature", settings=settings)
    write_onnx(model, trace_pieces(model), tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *model.encoder.pixels.shape), dtype=np.uint8)
    part = Part(tmp_path / "encoder.onnx", "encoder", model.encoder.eval())
    assert first_departure(part, [torch.from_numpy(pixels)], {"frames": pixels}) is None

    graph = onnx.load(part.graph, load_external_data=False)
    wrong = [
        node
        for node in graph.graph.node
        if node.op_type == OPERATOR[kind] and any(f"encoder/{MODULE[kind]}" in name for name in node.input)
    ][-1]
    next(one for one in wrong.attribute if one.name == "epsilon").f = 50.0
    part.graph.write_bytes(graph.SerializeToString())
    module = wrong.input[1].removeprefix("encoder/").rpartition(".")[0]
    said = first_departure(part, [torch.from_numpy(pixels)], {"frames": pixels})
    assert said is not None
    assert said.startswith(f"{module} (off by ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.onnx", "encoder.onnx", "head.onnx", "weights"]
