"""fp16: encoder and experts in half precision; the combiner and motion stay float32.

Inputs and outputs keep their types, with casts in the graph. Meant for GPUs; a CPU computes most of it in float32.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import onnx
from onnx import GraphProto, ModelProto, TensorProto
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.transformers.float16 import convert_float_to_float16

from stpr.export.graphs.cut import FILES
from stpr.export.parity.policy import ByMargin, Limits
from stpr.export.precisions.files import homes, is_of, save, seeing_motion, widen
from stpr.export.precisions.variant import Training, Variant, Written

FULL: Final = ("combine", "join")  # parts that stay float32
OWN: Final = "/full"  # suffix of the float32 copy of a tensor that both precisions read
# A CPU computes half precision in float32, a GPU rounds every product: features and familiarity of a MobileNetV2 bundle
# were off by 0.087 and 0.092 on an H100, its logits by 0.013 and its choices by nothing.
LIMITS: Final = Limits(margin=0.05, top1=0.995, routing=0.99, accuracy=0.003, recall=0.01, logits=0.05, others=0.15)


def write(folder: Path, training: Callable[[], Training]) -> Written:
    """Write graphs with weights of half the size; an old expert's file is identical at every stage."""
    del training
    models = {name: halved(onnx.load(str(folder / file))) for name, file in FILES.items()}
    places = {name: place for file in FILES.values() for name, place in homes(folder / file).items()}
    files = save(folder, models, "fp16", lambda tensor: places.get(tensor.name.removesuffix(OWN)))
    return Written(files)


def halved(model: ModelProto) -> ModelProto:
    """Convert a graph to half precision, with casts around the parts that stay float32."""
    widen(model.graph)
    moving = seeing_motion(model.graph)
    full = [node.name for node in model.graph.node if is_of(node, *FULL) or node.name in moving]
    _part_constants(model.graph, set(full))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weights too small for half precision become 6e-8
        half: Any = convert_float_to_float16(model, keep_io_types=True, node_block_list=full)
    _join_casts(half.graph)
    ordered = ONNXModel(half)
    ordered.topological_sort()
    found: ModelProto = ordered.model
    return found


def _part_constants(graph: GraphProto, full: set[str]) -> None:
    """Give the float32 parts their own copy of each tensor that half-precision parts read too."""
    halves = {name for node in graph.node if node.name not in full for name in node.input}
    tensors = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    for node in graph.node:
        for place, name in enumerate(node.input):
            if node.name in full and name in halves and name in tensors:
                if name + OWN not in tensors:
                    copy = graph.initializer.add()
                    copy.CopyFrom(tensors[name])
                    copy.name = name + OWN
                    tensors[copy.name] = copy
                node.input[place] = name + OWN


def _join_casts(graph: GraphProto) -> None:
    """Bypass pairs of casts to half precision and back, which would round float32 values needlessly."""
    casts = {node.output[0]: node for node in graph.node if node.op_type == "Cast"}
    instead = {}
    for name, node in casts.items():
        before = casts.get(node.input[0])
        if before is not None and _to(node) == TensorProto.FLOAT and _to(before) == TensorProto.FLOAT16:
            instead[name] = before.input[0]
    floats = {value.name for value in graph.input if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    for node in graph.node:
        floats.update(name for name in node.output if name.endswith("_cast_to_fp16"))
    instead = {name: source for name, source in instead.items() if source in floats}
    for node in graph.node:
        node.input[:] = [instead.get(name, name) for name in node.input]
    given = {value.name for value in graph.output}
    for node in [node for node in graph.node if node.op_type == "Cast" and node.output[0] in instead.keys() & given]:
        node.op_type = "Identity"
        node.input[0] = instead[node.output[0]]
        del node.attribute[:]
    read = {name for node in graph.node for name in node.input} | given
    idle = [node for node in graph.node if node.op_type == "Cast" and node.output[0] not in read]
    for node in idle:
        graph.node.remove(node)


def _to(cast: onnx.NodeProto) -> int:
    return int(next(attribute.i for attribute in cast.attribute if attribute.name == "to"))


VARIANT: Final = Variant(
    write, ByMargin(LIMITS, "export with --precision fp32"), kinds={"encoder": "float16", "expert": "float16"}
)
