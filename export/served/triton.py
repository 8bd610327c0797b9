"""Write a model repository for NVIDIA's Triton: encoder, head and clip graph as models of its onnxruntime backend.

FOLDER/NAME_encoder/config.pbtxt
                   /1/model.onnx, weights/
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from onnx import ModelProto

from stpr.export.served.fixed import read_graph
from stpr.runtime.contract.bundle import Bundle
from stpr.runtime.contract.manifest import GraphSpec, TensorSpec

TYPES: Final = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}
LARGEST_BATCH: Final = 8
LABELS: Final = "labels.txt"


def write(bundle: Bundle, folder: Path, batch: int | None) -> None:
    """Write a model per graph with copies of its weights, since Triton does not follow links out of a model."""
    for name, spec in bundle.manifest.graphs.items():
        model = folder / f"{re.sub(r'[^A-Za-z0-9_-]', '_', bundle.manifest.name)}_{name}"
        version = model / "1"
        version.mkdir(parents=True)
        graph = read_graph(bundle.graph(name), batch, weights=False)
        (version / "model.onnx").write_bytes(graph.SerializeToString(deterministic=True))
        for file in sorted(_weight_files(graph)):
            place = version / file
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.graph(name).parent / file, place)
        labels = any(output.name == "logits" for output in spec.outputs)
        if labels:
            (model / LABELS).write_text("".join(f"{one}\n" for one in bundle.manifest.class_names), encoding="utf-8")
        lines = [*_head(model.name, batch), *_ends("input", spec, batch), *_ends("output", spec, batch)]
        (model / "config.pbtxt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _weight_files(graph: ModelProto) -> set[str]:
    places = (entry for tensor in graph.graph.initializer for entry in tensor.external_data)
    return {entry.value for entry in places if entry.key == "location"}


def _head(name: str, batch: int | None) -> Iterator[str]:
    yield f'name: "{name}"'
    yield 'backend: "onnxruntime"'
    if batch is None:
        yield f"max_batch_size: {LARGEST_BATCH}"
        yield "dynamic_batching { }"
    else:  # Triton only batches along a dynamic axis
        yield "max_batch_size: 0"


def _ends(kind: str, spec: GraphSpec, batch: int | None) -> Iterator[str]:
    """Inputs or outputs, without a dynamic batch axis, which Triton adds."""
    tensors = spec.inputs if kind == "input" else spec.outputs
    yield f"{kind} ["
    for place, tensor in enumerate(tensors):
        yield "  {"
        yield f'    name: "{tensor.name}"'
        yield f"    data_type: {TYPES[tensor.dtype]}"
        yield from _shape(tensor, batch)
        if tensor.name == "logits":
            yield f'    label_filename: "{LABELS}"'
        yield "  }" if place == len(tensors) - 1 else "  },"
    yield "]"


def _shape(tensor: TensorSpec, batch: int | None) -> Iterator[str]:
    shape = tensor.shape[1:] if batch is None else (batch, *tensor.shape[1:])
    if shape:
        yield f"    dims: [ {', '.join(map(str, shape))} ]"
    else:  # one number per clip, which Triton can only express with a reshape
        yield "    dims: [ 1 ]"
        yield "    reshape: { shape: [ ] }"
