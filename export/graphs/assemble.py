"""Assemble the three graphs of a bundle and the weight files that they share.

Three pieces are traced, for any number of stages: the encoder, one expert, and the combiner. The expert's nodes are
then repeated with each expert's weights.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from stpr.export.graphs.cut import FILES, combine_piece, encoder_piece, expert_piece, graph_specs
from stpr.export.graphs.trace import OPSET, Traced, Weight, tensors_of, trace
from stpr.export.graphs.weights import BACKBONE, HALF, PROJECTION, STAGE, expert_file, halved, stored, write_weights
from stpr.runtime.contract.errors import BundleError
from stpr.runtime.contract.manifest import GraphName, GraphSpec, TensorSpec
from stpr.train.model.head import Head
from stpr.train.model.stpr import StPR

IR: Final = 10  # the newest IR version that JetPack 6's onnxruntime reads
DTYPES: Final[Mapping[str, int]] = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}


@dataclass(frozen=True, slots=True)
class Pieces:
    """The traced pieces of one model."""

    encoder: Traced
    expert: Traced | None  # None for a head without experts
    combine: Traced


def trace_pieces(model: StPR) -> Pieces:
    """Trace the three pieces of a model in evaluation mode."""
    expert = expert_piece(model)
    return Pieces(trace(encoder_piece(model)), trace(expert) if expert else None, trace(combine_piece(model)))


def write_onnx(model: StPR, pieces: Pieces, folder: Path) -> None:
    """Write `encoder.onnx`, `head.onnx`, `clip.onnx` and `weights/` into a folder."""
    specs = graph_specs(model)
    constants = _constants(pieces, specs, model.head.columns.appearance)
    tensors = {tensor.name: tensor for tensor in [*_write_all_weights(model, pieces, folder), *constants]}
    head = _head_nodes(pieces, model.head)
    nodes = {
        GraphName.ENCODER: _place(pieces.encoder, "encoder"),
        GraphName.HEAD: head,
        GraphName.CLIP: [*_clip_nodes(pieces, specs[GraphName.CLIP]), *head],
    }
    for name, spec in specs.items():
        _write_graph(folder / FILES[name], [*_widened(nodes[name], tensors)], tensors, spec)


def expert_output(stage: int) -> str:
    """The name of a stage's expert output (B, D) inside the head and clip graphs."""
    return f"expert_{stage}/output"


def _write_all_weights(model: StPR, pieces: Pieces, folder: Path) -> list[TensorProto]:
    encoder, combine = tensors_of(model.encoder), tensors_of(combine_piece(model).module)
    parts: dict[str, list[Weight]] = {BACKBONE: [], PROJECTION: [], STAGE: []}
    for weight in pieces.encoder.weights:
        parts[_file_of(weight)].append(weight)
    tuned = parts.pop(STAGE)
    entries = []
    for file, weights in parts.items():
        if weights:
            entries += write_weights(folder, file, stored(weights, encoder, "encoder"))
    for stage, expert in enumerate(model.head.experts, start=1):
        assert pieces.expert is not None
        own = stored(pieces.expert.weights, tensors_of(expert), f"expert_{stage}")
        entries += write_weights(folder, expert_file(stage), halved(own))
    changing = [*stored(tuned, encoder, "encoder"), *stored(pieces.combine.weights, combine, "combine")]
    return entries + write_weights(folder, STAGE, halved(changing))


def _file_of(weight: Weight) -> str:
    """The weight file of an encoder tensor: adapters change between stages, the rest does not."""
    if "adapter" in weight.name.split("."):
        return STAGE
    return PROJECTION if weight.name.startswith("projection.") else BACKBONE


def _constants(pieces: Pieces, specs: Mapping[GraphName, GraphSpec], appearance: int) -> list[TensorProto]:
    """Constants from tracing, and those of the nodes that join the pieces."""
    joints = {
        "join/axis": [1],
        "join/clip": [-1, *specs[GraphName.HEAD].inputs[0].shape[1:]],
        "join/start": [0],
        "join/end": [appearance],
        "join/columns": [2],
        **{f"join/{given.name}": [-1, *given.shape[1:]] for given in specs[GraphName.ENCODER].inputs},
    }
    found = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in joints.items()]
    for piece in filter(None, (pieces.encoder, pieces.expert, pieces.combine)):
        for constant in piece.constants:
            renamed = TensorProto()
            renamed.CopyFrom(constant)
            renamed.name = f"{piece.name}/{constant.name}"
            found.append(renamed)
    return found


def _clip_nodes(pieces: Pieces, spec: GraphSpec) -> list[NodeProto]:
    """Nodes that run every frame of every clip through the encoder."""
    nodes, ends = [], {"features": "join/features"}
    for given in spec.inputs:
        numbers, rows = f"join/{given.name}/numbers", f"join/{given.name}/rows"
        # TensorRT supports uint8 only as a graph input that is read by a cast.
        nodes.append(helper.make_node("Cast", [given.name], [numbers], numbers, to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Reshape", [numbers, f"join/{given.name}"], [rows], rows))
        ends[given.name] = rows
    nodes += _place(pieces.encoder, "encoder", ends)
    nodes.append(helper.make_node("Reshape", ["join/features", "join/clip"], ["features"], "join/features"))
    return nodes


def _head_nodes(pieces: Pieces, head: Head) -> list[NodeProto]:
    """Nodes of all experts on the same features, then of the combiner."""
    nodes, stacked, seen = [], [], "features"
    if head.columns.width > head.columns.appearance and len(head.experts):
        seen = "join/appearance"
        bounds = ["features", "join/start", "join/end", "join/columns"]
        nodes.append(helper.make_node("Slice", bounds, [seen], seen))
    for stage in range(1, len(head.experts) + 1):
        assert pieces.expert is not None
        output, row = expert_output(stage), f"join/output_{stage}"
        nodes += _place(pieces.expert, f"expert_{stage}", {"features": seen, "output": output})
        nodes.append(helper.make_node("Unsqueeze", [output, "join/axis"], [row], row))
        stacked.append(row)
    if stacked:
        nodes.append(helper.make_node("Concat", stacked, ["outputs"], "join/outputs", axis=1))
    ends = {name: name for name in (*pieces.combine.inputs, *pieces.combine.outputs)}
    return [*nodes, *_place(pieces.combine, "combine", ends)]


def _place(piece: Traced, prefix: str, ends: Mapping[str, str] | None = None) -> list[NodeProto]:
    """Copy a piece's nodes under a prefix; `ends` renames its inputs and outputs (None: unchanged)."""
    names = dict(ends) if ends is not None else {name: name for name in (*piece.inputs, *piece.outputs)}
    names[""] = ""  # an omitted optional input
    # Constants are shared by all copies.
    names |= {constant.name: f"{piece.name}/{constant.name}" for constant in piece.constants}
    placed = []
    for node in piece.nodes:
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.name = f"{prefix}/{node.name}"
        copy.input[:] = [names.get(name, f"{prefix}/{name}") for name in node.input]
        copy.output[:] = [names.get(name, f"{prefix}/{name}") for name in node.output]
        placed.append(copy)
    return placed


def _widened(nodes: Iterable[NodeProto], tensors: Collection[str]) -> Iterator[NodeProto]:
    """The nodes, with a cast of each tensor that is stored in half precision before the first that reads it."""
    known = set()
    for node in nodes:
        for name in node.input:
            if name + HALF in tensors and name not in known:
                known.add(name)
                yield helper.make_node("Cast", [name + HALF], [name], f"{name}/widened", to=TensorProto.FLOAT)
        yield node


def _write_graph(file: Path, nodes: Sequence[NodeProto], tensors: Mapping[str, TensorProto], spec: GraphSpec) -> None:
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        file.stem,
        [_value(tensor) for tensor in spec.inputs],
        [_value(tensor) for tensor in spec.outputs],
        [tensor for name, tensor in tensors.items() if name in used],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="stpr"
    )
    file.write_bytes(model.SerializeToString(deterministic=True))
    try:
        onnx.checker.check_model(str(file))
    except onnx.checker.ValidationError as error:
        raise BundleError(f"{file.name} is not valid ONNX ({str(error).splitlines()[0]}); report this.") from error


def _value(tensor: TensorSpec) -> ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, DTYPES[tensor.dtype], tensor.shape)
