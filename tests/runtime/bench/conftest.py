"""A bundle that tells events, and videos in which it does: bright is an action of the class `wave`, dark is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import msgspec
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from stpr.runtime.contract.bundle import MANIFEST, file_entry
from stpr.runtime.contract.manifest import GraphName, TensorSpec, manifest_bytes, read_manifest
from tests.factories import CLASSES, make_bundle, make_parity

FPS = 8.0
STEEP, BRIGHT = 20.0, 0.9  # evidence is STEEP * (logit - BRIGHT); the logit of `wave` is 1.1 in yellow, 0.1 in black


@pytest.fixture(scope="session")
def mute(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle without events."""
    return make_bundle(tmp_path_factory.mktemp("mute"))


@pytest.fixture(scope="session")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with evidence."""
    bundle = make_bundle(tmp_path_factory.mktemp("telling"))
    model = onnx.load(bundle / "head.onnx")
    for name, value in (("steep", STEEP), ("offset", -STEEP * BRIGHT)):
        model.graph.initializer.append(numpy_helper.from_array(np.array([value], np.float32), name))
    model.graph.node.append(helper.make_node("Mul", ["logits", "steep"], ["scaled"]))
    model.graph.node.append(helper.make_node("Add", ["scaled", "offset"], ["evidence"]))
    shape: tuple[str, int] = ("batch", len(CLASSES))
    model.graph.output.append(helper.make_tensor_value_info("evidence", onnx.TensorProto.FLOAT, shape))
    onnx.checker.check_model(model)
    onnx.save(model, bundle / "head.onnx")
    manifest = read_manifest((bundle / MANIFEST).read_bytes(), "manifest").manifest
    head = manifest.graphs[GraphName.HEAD]
    evidence = TensorSpec(name="evidence", dtype="float32", shape=shape)
    tolerances = dict.fromkeys(("features", "logits", "routing", "familiarity", "evidence"), 1e-5)
    changed = msgspec.structs.replace(
        manifest,
        graphs=manifest.graphs | {GraphName.HEAD: msgspec.structs.replace(head, outputs=(*head.outputs, evidence))},
        files=manifest.files | {"head.onnx": file_entry(bundle / "head.onnx")},
        parity={"fp32": make_parity(tolerances=tolerances)},
    )
    (bundle / MANIFEST).write_bytes(manifest_bytes(changed))
    return bundle


def film(path: Path, seconds: float, bright: Sequence[tuple[float, float]]) -> Path:
    """A dark video that is bright in some spans of seconds."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (64, 48))
    for index in range(round(seconds * FPS)):
        lit = any(start <= index / FPS < end for start, end in bright)
        writer.write(np.full((48, 64, 3), (0, 255, 255) if lit else (0, 0, 0), np.uint8))  # BGR
    writer.release()
    return path


@pytest.fixture
def filmed(tmp_path: Path) -> Path:
    """A folder with two videos and what happens in them: three waves, of which two are seen."""
    folder = tmp_path / "videos"
    folder.mkdir()
    film(folder / "kitchen.avi", 20.0, [(4, 6), (12, 14)])
    film(folder / "garden.avi", 10.0, [])
    (folder / "truth.csv").write_text(
        "file,start,end,label\nkitchen.avi,4,6,wave\nkitchen.avi,12,14,wave\ngarden.avi,3,5,wave\n"
    )
    return folder
