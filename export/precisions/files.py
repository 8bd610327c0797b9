"""Write graphs of another precision beside the traced ones, with separate weight files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.external_data_helper import uses_external_data

from stpr.export.graphs.weights import HALF, write_arrays
from stpr.runtime.contract.errors import BundleError
from stpr.runtime.contract.manifest import GraphName, Precision

Home: TypeAlias = Callable[[TensorProto], str | None]  # tensor -> its weight file; None: stored in the graph
GREYS: Final = "greys"
ENDS: Final = {"features", "join/features"}  # outputs of the encoder, in its own and in the clip graph


def homes(graph: Path) -> dict[str, str]:
    """The weight file of each tensor of a traced graph, for tensors stored in one, by the name in which it is read."""
    model = onnx.load(str(graph), load_external_data=False)
    return {
        tensor.name.removesuffix(HALF): entry.value
        for tensor in model.graph.initializer
        if uses_external_data(tensor)
        for entry in tensor.external_data
        if entry.key == "location"
    }


def save(
    folder: Path, models: Mapping[GraphName, ModelProto], precision: Precision, home: Home
) -> dict[GraphName, str]:
    """Write graphs as `NAME-PRECISION.onnx`, with tensors of equal name stored once; returns their files.

    Tensors that are in a weight file already stay there, others go to the file that `home` returns. Raises BundleError
    for a graph that is not valid ONNX.
    """
    placed: dict[str, dict[str, TensorProto]] = {}
    for model in models.values():
        for tensor in model.graph.initializer:
            if not uses_external_data(tensor) and (place := home(tensor)) is not None:
                path = Path(place)
                named = path.with_name(f"{path.stem}-{precision}{path.suffix}").as_posix()
                placed.setdefault(named, {})[tensor.name] = tensor
    entries: dict[str, TensorProto] = {}
    for place, tensors in placed.items():
        values = ((name, numpy_helper.to_array(tensor)) for name, tensor in sorted(tensors.items()))
        entries |= {entry.name: entry for entry in write_arrays(folder, place, values)}
    files = {}
    for name, model in models.items():
        files[name] = f"{name}-{precision}.onnx"
        held = [
            entries.get(tensor.name, tensor) for tensor in sorted(model.graph.initializer, key=lambda one: one.name)
        ]
        del model.graph.initializer[:], model.graph.value_info[:]
        model.graph.initializer.extend(held)
        (folder / files[name]).write_bytes(model.SerializeToString(deterministic=True))
        try:
            onnx.checker.check_model(str(folder / files[name]))
        except onnx.checker.ValidationError as error:
            reason = str(error).splitlines()[0]
            raise BundleError(f"{files[name]} is not valid ONNX ({reason}); report this, or use fp32.") from error
    return files


def widen(graph: GraphProto) -> None:
    """Replace the casts of tensors that are stored in half precision by float32 tensors."""
    halves = {tensor.name: tensor for tensor in graph.initializer if tensor.name.endswith(HALF)}
    for node in [node for node in graph.node if node.op_type == "Cast" and node.input[0] in halves]:
        values = numpy_helper.to_array(halves[node.input[0]]).astype(np.float32)
        halves[node.input[0]].CopyFrom(numpy_helper.from_array(values, node.output[0]))
        graph.node.remove(node)


def seeing_motion(graph: GraphProto) -> set[str]:
    """Names of the nodes of the motion path, from the grey pictures to the concatenation with appearance."""
    seen, found = {GREYS}, set()
    for node in graph.node:
        if seen.intersection(node.input):
            found.add(node.name)
            seen.update(set(node.output) - ENDS)
    return found


def is_of(node: NodeProto, *parts: str) -> bool:
    """Whether a node belongs to one of these parts, such as "encoder"."""
    return node.name.split("/")[0] in parts


def used_files(folder: Path, graphs: Collection[str]) -> set[str]:
    """The graphs and the weight files that they use."""
    return {*graphs, *(place for graph in graphs for place in homes(folder / graph).values())}
