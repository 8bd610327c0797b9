"""The stage after the toy bundle: real graphs, one class and one expert more."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from stpr.runtime.contract.bundle import GOLDEN, MANIFEST, SIGNATURE, file_entry, open_bundle
from stpr.runtime.contract.manifest import ClassEntry, GraphName, GraphSpec, Manifest, TensorSpec, manifest_bytes
from stpr.runtime.contract.preprocess import Array
from stpr.runtime.engines import open_engine
from tests.runtime.runs import ONE

NEW = "spin"


def make_next(
    old: Path, new: Path, *, other_encoder: bool = False, agrees: bool = True, new_alone: bool = False, **changes: Any
) -> Path:
    """Stage 3 of the toy bundle at `old`, in the folder `new`.

    Its class lies between two old ones, so that it is never the likeliest; without `agrees` the old ones change places,
    and with `new_alone` it is all that is ever said.
    """
    shutil.copytree(old, new)
    bundle = open_bundle(old)
    for name in GraphName:
        _change(new / f"{name}.onnx", other_encoder=other_encoder, agrees=agrees, new_alone=new_alone)
    classes = (*bundle.manifest.classes, ClassEntry(name=NEW, stage=bundle.manifest.stage + 1, moves=False))
    widths = {"logits": len(classes), "routing": bundle.manifest.stage + 1}
    graphs = {name: _spec(spec, widths) for name, spec in bundle.manifest.graphs.items()}
    changes = {"classes": classes, "stage": bundle.manifest.stage + 1, "graphs": graphs} | changes
    _write_golden(new, old)
    return seal(new, msgspec.structs.replace(bundle.manifest, **changes))


def seal(folder: Path, manifest: Manifest) -> Path:
    """Write the manifest of what lies in a folder."""
    files = {file.name: file_entry(file) for file in sorted(folder.iterdir()) if file.name not in (MANIFEST, SIGNATURE)}
    (folder / MANIFEST).write_bytes(manifest_bytes(msgspec.structs.replace(manifest, files=files)))
    return folder


def _write_golden(new: Path, old: Path) -> None:
    golden = open_bundle(old).golden()
    made = open_engine("onnxruntime", new / f"{GraphName.CLIP}.onnx", ONE).run(golden.feeds)
    frames = {name: clip[0] for name, clip in golden.feeds.items()}
    encoded = open_engine("onnxruntime", new / f"{GraphName.ENCODER}.onnx", ONE).run(frames)
    arrays: dict[str, Array] = {**golden.feeds, "features": encoded["features"][np.newaxis], **made}
    np.savez(new / GOLDEN, allow_pickle=False, **arrays)


def _spec(spec: GraphSpec, widths: dict[str, int]) -> GraphSpec:
    def wider(tensor: TensorSpec) -> TensorSpec:
        shape = (*tensor.shape[:-1], widths[tensor.name]) if tensor.name in widths else tensor.shape
        return msgspec.structs.replace(tensor, shape=shape)

    return msgspec.structs.replace(spec, outputs=tuple(map(wider, spec.outputs)))


def _change(file: Path, *, other_encoder: bool, agrees: bool, new_alone: bool) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(file)
    for tensor in model.graph.initializer:
        weights = numpy_helper.to_array(tensor)
        if tensor.name in ("classes", "stages"):
            weights = np.concatenate([weights, weights[:, :2].mean(axis=1, keepdims=True)], axis=1)
            if tensor.name == "classes" and not agrees:
                weights = weights[:, [1, 2, 0, 3]]
            if tensor.name == "classes" and new_alone:
                weights[:, -1] = weights[:, :-1].mean(axis=1) + 100 * np.abs(weights).max()
        elif tensor.name == "bias" and other_encoder:
            weights = weights + np.float32(0.05)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(weights), tensor.name))
    for output in model.graph.output:
        if output.name in ("logits", "routing"):
            output.type.tensor_type.shape.dim[1].dim_value += 1
    onnx.checker.check_model(model)
    onnx.save(model, file)
