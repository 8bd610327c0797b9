"""Export one piece of the model to ONNX nodes (opset 18), with weights hidden from the optimiser.

The optimiser transposes, merges and shares constants depending on their values and sizes. Weights are therefore passed
as inputs: nodes depend on the structure only, so one expert's nodes serve all experts, and each stored weight is one
PyTorch tensor, or its transpose.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import onnx_ir
import torch
from onnx import ModelProto, NodeProto, TensorProto
from torch import Tensor, nn

from stpr.export.graphs.cut import BATCH, Piece
from stpr.export.graphs.operators import TRANSLATIONS
from stpr.export.graphs.plain import simplify
from stpr.runtime.contract.errors import BundleError

OPSET: Final = 18
LARGEST_BATCH: Final = 4096  # torch.export needs a bound; engines don't enforce it


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor of the traced module: its PyTorch name, and the order in which its axes are stored (None: unchanged)."""

    name: str
    axes: tuple[int, ...] | None = None

    @property
    def stored_name(self) -> str:
        """Its name in the graph."""
        return self.name if self.axes is None else f"{self.name}.{''.join(map(str, self.axes))}"

    def of(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The tensor in stored form."""
        tensor = tensors[self.name].detach().cpu()
        return (tensor if self.axes is None else tensor.permute(self.axes)).contiguous()


@dataclass(frozen=True, slots=True)
class Traced:
    """A piece as ONNX nodes: weights only by name; constants are small tensors created by tracing."""

    name: str
    nodes: tuple[NodeProto, ...]
    constants: tuple[TensorProto, ...]
    weights: tuple[Weight, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers of a module by name; shared ones under each name."""
    return {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }


def trace(piece: Piece) -> Traced:
    """Trace a piece; raises BundleError if that fails or the opset is not 18."""
    with _quiet():
        try:
            program = torch.onnx.export(
                piece.module,
                tuple(piece.inputs.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(piece.inputs),
                output_names=list(piece.outputs),
                dynamic_shapes=tuple({0: torch.export.Dim(BATCH, min=1, max=LARGEST_BATCH)} for _ in piece.inputs),
                custom_translation_table=dict(TRANSLATIONS),
                optimize=False,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise BundleError(
                f"the {piece.name} can't be exported to ONNX ({str(error).strip().splitlines()[0]});"
                " train with another backbone, or report this one."
            ) from error
        assert program is not None
        weights = _hide_weights(program.model, tensors_of(piece.module).keys())
        simplify(program.model)
    return _read(piece, onnx_ir.to_proto(program.model), weights)


def _hide_weights(model: onnx_ir.Model, names: Collection[str]) -> set[str]:
    """Turn the weights of a graph into inputs; returns their names."""
    graph = model.graph
    hidden = {name: graph.initializers.pop(name) for name in list(graph.initializers) if name in names}
    for value in hidden.values():
        value.const_value = None
        graph.inputs.append(value)
    return set(hidden)


def _read(piece: Piece, model: ModelProto, weights: set[str]) -> Traced:
    """Convert a graph to a Traced; a weight that is read through a transpose is stored transposed."""
    _check_versions(piece, model)
    turned = {
        node.output[0]: Weight(node.input[0], tuple(node.attribute[0].ints))
        for node in model.graph.node
        if node.op_type == "Transpose" and node.input[0] in weights
    }
    nodes = [node for node in model.graph.node if node.output[0] not in turned]
    for node in nodes:
        # They contain source paths of this machine.
        del node.metadata_props[:]
        node.doc_string = ""
        node.input[:] = [turned[name].stored_name if name in turned else name for name in node.input]
    used = {name for node in nodes for name in node.input}
    known = [*map(Weight, weights), *turned.values()]
    return Traced(
        name=piece.name,
        nodes=tuple(nodes),
        constants=tuple(constant for constant in model.graph.initializer if constant.name in used),
        weights=tuple(sorted({weight for weight in known if weight.stored_name in used}, key=lambda w: w.stored_name)),
        inputs=tuple(piece.inputs),
        outputs=piece.outputs,
    )


def _check_versions(piece: Piece, model: ModelProto) -> None:
    """Check the opset, since the exporter may write another one and only log it."""
    found = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    if found != {"ai.onnx": OPSET} or model.functions:
        raise BundleError(f"the exporter wrote {found} for the {piece.name}, not opset {OPSET}; install stpr's torch.")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's messages."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            for kind in (FutureWarning, DeprecationWarning):
                warnings.simplefilter("ignore", kind)
            warnings.filterwarnings("ignore", message=".*axis name: batch will not be used")  # two inputs share it
            yield
    finally:
        logger.setLevel(level)
