"""Inspect the real precision of files: the element types of their weights, whatever the files are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper

from stpr.export.precisions.variant import FULL
from stpr.runtime.contract.errors import ParityError
from stpr.runtime.contract.manifest import GraphName, Precision

LAYERS: Final = ("Conv", "Gemm", "MatMul")
HERE: Final = (GraphName.ENCODER, GraphName.HEAD)  # the clip graph consists of both
Layers = dict[str, dict[str, int]]


def inspect(folder: Path, files: Mapping[GraphName, str]) -> tuple[Layers, dict[str, int]]:
    """Count the layers with weights per part and element type, and the bytes of weights per element type."""
    layers: dict[str, Counter[str]] = {}
    sizes: dict[str, TensorProto] = {}
    for name in HERE:
        graph = onnx.load(str(folder / files[name]), load_external_data=False).graph
        held = {tensor.name: tensor for tensor in graph.initializer}
        sizes |= held
        for part, kind in _layers(graph, held):
            layers.setdefault(part, Counter())[kind] += 1
    totals: Counter[str] = Counter()
    for tensor in sizes.values():
        totals[_kind(tensor)] += int(np.prod(tensor.dims)) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return {part: dict(sorted(kinds.items())) for part, kinds in layers.items()}, dict(sorted(totals.items()))


def refuse_other(precision: Precision, kinds: Mapping[str, str], layers: Layers) -> None:
    """Raise ParityError unless most layers of each part in `kinds` have its type, and no other part does."""
    for part, found in layers.items():
        wanted, total = kinds.get(part, FULL), sum(found.values())
        if 2 * found.get(wanted, 0) <= total or (part not in kinds and found.keys() != {wanted}):
            raise ParityError(
                f"asked for {precision}, got {found} layers in the {part}, which must be {wanted}; no bundle was"
                " written: report this, or export with --precision fp32."
            )


def _layers(graph: GraphProto, held: Mapping[str, TensorProto]) -> Iterable[tuple[str, str]]:
    """Yield part and element type of each layer with stored weights."""
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type in LAYERS and (kind := _kind_of_weights(node, makers, held)) is not None:
            yield node.name.split("/")[0].split("_")[0], kind


def _kind_of_weights(node: NodeProto, makers: Mapping[str, NodeProto], held: Mapping[str, TensorProto]) -> str | None:
    """The type of a layer's weights, looking through dequantisation and transposes; None for two activations.

    Weights that are only stored in half precision and cast before use count as float32.
    """
    for name in reversed(node.input[:2]):
        widened = False
        while name not in held and name in makers and makers[name].op_type in {"DequantizeLinear", "Cast", "Transpose"}:
            widened |= makers[name].op_type == "Cast" and makers[name].attribute[0].i == TensorProto.FLOAT
            name = makers[name].input[0]
        if name in held:
            return FULL if widened else _kind(held[name])
    return None


def _kind(tensor: TensorProto) -> str:
    return str(helper.tensor_dtype_to_np_dtype(tensor.data_type).name)
