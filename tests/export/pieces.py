"""Small modules traced and run by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import ValueInfoProto, helper, numpy_helper
from torch import Tensor, nn

from stpr.export.graphs.assemble import IR
from stpr.export.graphs.cut import Piece
from stpr.export.graphs.trace import OPSET, tensors_of, trace


def traced(module: nn.Module, given: Tensor, outputs: tuple[str, ...] = ("output",)) -> onnx.ModelProto:
    """A module of one input, `given` an example of it whose first axis is the batch, as a model with its weights."""
    found = trace(Piece("piece", module.eval(), {"given": given}, outputs))
    tensors = tensors_of(module)
    weights = [numpy_helper.from_array(weight.of(tensors).numpy(), weight.stored_name) for weight in found.weights]
    said = module(given)
    ends = dict(zip(outputs, said if isinstance(said, tuple) else (said,), strict=True))
    graph = helper.make_graph(
        found.nodes,
        found.name,
        [_value("given", given)],
        [_value(name, value) for name, value in ends.items()],
        [*weights, *found.constants],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)


def _value(name: str, value: Tensor) -> ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(value.detach().numpy().dtype)
    return helper.make_tensor_value_info(name, kind, ("batch", *value.shape[1:]))


def kinds(model: onnx.ModelProto) -> list[str]:
    """The operators of a model, in order."""
    return [node.op_type for node in model.graph.node]


def run(model: onnx.ModelProto, given: Tensor, optimised: Path | None = None) -> list[npt.NDArray[Any]]:
    """A model's outputs; `optimised` takes the model as onnxruntime really runs it."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 4
    if optimised is not None:
        settings.optimized_model_filepath = str(optimised)
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return [np.asarray(output) for output in session.run(None, {"given": given.numpy()})]
