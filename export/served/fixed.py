"""Fix the batch of a graph, for consumers without dynamic axes."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import ModelProto


def read_graph(file: Path, batch: int | None, *, weights: bool) -> ModelProto:
    """Read a graph of a bundle, with its dynamic axis fixed to `batch` if given, and weights embedded if requested."""
    model = onnx.load(str(file), load_external_data=weights)
    if batch is not None:
        for value in [*model.graph.input, *model.graph.output]:
            for axis in value.type.tensor_type.shape.dim:
                if axis.dim_param:
                    axis.dim_value = batch
    return model
