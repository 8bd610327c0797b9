"""A graph for a fixed batch: some consumers take no free axis."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import ModelProto


def read_graph(file: Path, batch: int | None, *, weights: bool) -> ModelProto:
    """A graph of a bundle, its free axis fixed to `batch` where that is given, with its weights inside if asked for."""
    model = onnx.load(str(file), load_external_data=weights)
    if batch is not None:
        for value in [*model.graph.input, *model.graph.output]:
            for axis in value.type.tensor_type.shape.dim:
                if axis.dim_param:
                    axis.dim_value = batch
    return model
