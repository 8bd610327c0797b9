"""Valid things by default; a test changes the one field it is about."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from stpr.runtime.contract.bundle import GOLDEN, MANIFEST, PARITY, file_entry
from stpr.runtime.contract.manifest import (
    SCHEMA,
    ClassEntry,
    FileEntry,
    GraphName,
    GraphSpec,
    Manifest,
    ParitySummary,
    TensorSpec,
    manifest_bytes,
)
from stpr.runtime.contract.motion import MotionSpec
from stpr.runtime.contract.preprocess import Array, Image, PreprocessSpec
from stpr.runtime.contract.sampling import ClipSpec

FRAMES, SIDE, WIDTH, STAGES = 4, 8, 6, 2  # T, H and W, D, E
CLASSES = (("wave", 1), ("jump", 1), ("turn", 2))
MOTION = MotionSpec(pairs=2, side=16, seconds=1 / 15)
Floats = npt.NDArray[np.float32]


def make_clip_spec(**changes: Any) -> ClipSpec:
    """Four frames a second."""
    return msgspec.structs.replace(ClipSpec(frames=FRAMES, span_seconds=1.0), **changes)


def make_preprocess_spec(**changes: Any) -> PreprocessSpec:
    """A centre crop to 8x8."""
    spec = PreprocessSpec(
        height=SIDE, width=SIDE, resize="crop", crop_fraction=1.0, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
    )
    return msgspec.structs.replace(spec, **changes)


def make_manifest(**changes: Any) -> Manifest:
    """Stage 2 of a bundle with three classes; its files are made up."""
    graphs = _graph_specs(changes.get("motion"))
    names = [spec.file for spec in graphs.values()]
    manifest = Manifest(
        schema=SCHEMA,
        name="toy",
        stage=STAGES,
        classes=tuple(ClassEntry(name=name, stage=stage, moves=False) for name, stage in CLASSES),
        clip=make_clip_spec(),
        preprocess=make_preprocess_spec(),
        motion=None,
        temperature=0.1,
        unknown=None,
        precision="fp32",
        graphs=graphs,
        files={name: FileEntry(bytes=1, sha256="0" * 64) for name in (*names, GOLDEN, PARITY)},
        parity={"fp32": make_parity()},
        provenance={"recipe": "toy"},
    )
    return msgspec.structs.replace(manifest, **changes)


def make_parity(**changes: Any) -> ParitySummary:
    """One clip, and every output within 1e-5."""
    parity = ParitySummary(
        clips=1,
        worst_logits=1e-7,
        worst_routing=1e-7,
        worst_familiarity=1e-7,
        top1_agreement=1.0,
        routing_agreement=1.0,
        tolerances=dict.fromkeys(("features", "logits", "routing", "familiarity"), 1e-5),
    )
    return msgspec.structs.replace(parity, **changes)


def make_bundle(folder: Path, **changes: Any) -> Path:
    """A bundle on disk whose three graphs really run; `changes` are the manifest's. Returns `folder`/toy/stage-2.

    Its motion, where it has any, is MOTION.
    """
    path = folder / "toy" / f"stage-{STAGES}"
    path.mkdir(parents=True)
    motion = changes.get("motion")
    _write_graphs(path, motion)
    rng = np.random.default_rng(0)
    golden: dict[str, Array] = {"frames": rng.integers(0, 256, (1, FRAMES, SIDE, SIDE, 3), dtype=np.uint8)}
    if motion is not None:
        shape = (1, FRAMES, motion.pairs, 2, motion.side, motion.side)
        golden["greys"] = rng.integers(0, 256, shape, dtype=np.uint8)
    features = encode(*(seen[0] for seen in golden.values()))[np.newaxis]
    logits, routing = judge(features)
    best = logits.max(axis=1)
    golden |= {"features": features, "logits": logits, "routing": routing, "familiarity": best}
    np.savez(path / GOLDEN, allow_pickle=False, **golden)
    (path / PARITY).write_text("{}\n")
    files = {file.name: file_entry(file) for file in sorted(path.iterdir())}
    (path / MANIFEST).write_bytes(manifest_bytes(make_manifest(files=files, **changes)))
    return path


def encode(frames: Image, greys: Array | None = None) -> Floats:
    """What the encoder graph computes, in numpy: `(N, H, W, 3)`, with motion `(N, K, 2, s, s)` -> `(N, D)`."""
    weights = _weights()
    seen = frames.astype(np.float32).mean(axis=(1, 2)) @ weights["encoder"] + weights["bias"]
    if greys is not None:
        seen = seen + greys.astype(np.float32).mean(axis=(3, 4)).reshape(len(greys), -1) @ weights["motion"]
    return np.asarray(seen, np.float32)


def judge(features: Floats) -> tuple[Floats, Floats]:
    """What the head graph computes, in numpy: `(B, T, D)` -> `(B, C)`, `(B, E)`; the order of the frames matters."""
    weights = _weights()
    mixed = (features * weights["time"]).sum(axis=1)
    return np.asarray(mixed @ weights["classes"], np.float32), np.asarray(mixed @ weights["stages"], np.float32)


def make_video(path: Path, *, frames: int = 24, fps: float = 8.0, size: tuple[int, int] = (64, 48)) -> Path:
    """A video unlike those of other names, every frame of it different, for each codec that OpenCV always has."""
    colour = tuple(hashlib.sha256("/".join(path.parts[-3:]).encode()).digest()[:3])
    codec = "MJPG" if path.suffix == ".avi" else "mp4v"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, size)
    for index in range(frames):
        image = np.full((size[1], size[0], 3), 10 * index % 256, np.uint8)
        cv2.circle(image, (size[0] * index // frames, size[1] // 2), 9, colour, cv2.FILLED)
        writer.write(image)
    writer.release()
    return path


def _weights() -> dict[str, Floats]:
    rng = np.random.default_rng(7)
    shapes = {
        "encoder": (3, WIDTH),
        "bias": (WIDTH,),
        "time": (FRAMES, 1),
        "classes": (WIDTH, len(CLASSES)),
        "stages": (WIDTH, STAGES),
        "motion": (2 * MOTION.pairs, WIDTH),
    }
    made = {name: rng.normal(0.0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    made["encoder"] /= 64  # pixels are large
    made["motion"] /= 64
    return made


def _graph_specs(motion: MotionSpec | None = None) -> dict[GraphName, GraphSpec]:
    def seen(*lead: str | int) -> tuple[TensorSpec, ...]:
        frames = TensorSpec(name="frames", dtype="uint8", shape=(*lead, SIDE, SIDE, 3))
        if motion is None:
            return (frames,)
        shape = (*lead, motion.pairs, 2, motion.side, motion.side)
        return frames, TensorSpec(name="greys", dtype="uint8", shape=shape)

    inputs = {
        GraphName.ENCODER: seen("frames"),
        GraphName.HEAD: (TensorSpec(name="features", dtype="float32", shape=("batch", FRAMES, WIDTH)),),
        GraphName.CLIP: seen("batch", FRAMES),
    }
    features = TensorSpec(name="features", dtype="float32", shape=("frames", WIDTH))
    judged = (
        TensorSpec(name="logits", dtype="float32", shape=("batch", len(CLASSES))),
        TensorSpec(name="routing", dtype="float32", shape=("batch", STAGES)),
        TensorSpec(name="familiarity", dtype="float32", shape=("batch",)),
    )
    return {
        name: GraphSpec(
            inputs=tensors,
            outputs=(features,) if name is GraphName.ENCODER else judged,
            variants={"fp32": f"{name}.onnx"},
        )
        for name, tensors in inputs.items()
    }


def _write_graphs(path: Path, motion: MotionSpec | None) -> None:
    from onnx import helper

    def reshape(source: str, target: str, shape: str) -> Any:
        return helper.make_node("Reshape", [source, shape], [target])

    def encoder(source: str, pairs: str, target: str) -> list[Any]:
        nodes = [
            helper.make_node("Cast", [source], ["pixels"], to=1),
            helper.make_node("ReduceMean", ["pixels", "sides"], ["means"], keepdims=0),
            helper.make_node("Gemm", ["means", "encoder", "bias"], [target if motion is None else "seen"]),
        ]
        if motion is None:
            return nodes
        return [
            *nodes,
            helper.make_node("Cast", [pairs], ["light"], to=1),
            helper.make_node("ReduceMean", ["light", "grey_sides"], ["lights"], keepdims=0),
            helper.make_node("Flatten", ["lights"], ["moved"], axis=1),
            helper.make_node("Gemm", ["moved", "motion", "seen"], [target]),
        ]

    head = [
        helper.make_node("Mul", ["features", "time"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "second"], ["mixed"], keepdims=0),
        helper.make_node("MatMul", ["mixed", "classes"], ["logits"]),
        helper.make_node("MatMul", ["mixed", "stages"], ["routing"]),
        helper.make_node("ReduceMax", ["logits", "second"], ["familiarity"], keepdims=0),
    ]
    joined = [
        reshape("frames", "images", "image_shape"),
        *([] if motion is None else [reshape("greys", "pairs", "pair_shape")]),
        *encoder("images", "pairs", "stacked"),
        reshape("stacked", "features", "clip_shape"),
        *head,
    ]
    nodes = {GraphName.ENCODER: encoder("frames", "greys", "features"), GraphName.HEAD: head, GraphName.CLIP: joined}
    for name, spec in _graph_specs(motion).items():
        _write_graph(path, spec, nodes[name])


def _write_graph(path: Path, spec: GraphSpec, nodes: list[Any]) -> None:
    import onnx
    from onnx import helper, numpy_helper

    shapes = {
        "image_shape": np.array([-1, SIDE, SIDE, 3]),
        "clip_shape": np.array([-1, FRAMES, WIDTH]),
        "pair_shape": np.array([-1, MOTION.pairs, 2, MOTION.side, MOTION.side]),
        "sides": np.array([1, 2]),
        "grey_sides": np.array([3, 4]),
        "second": np.array([1]),
    }
    used = {tensor for node in nodes for tensor in node.input}
    constants = [numpy_helper.from_array(array, key) for key, array in (_weights() | shapes).items() if key in used]
    types = {"uint8": onnx.TensorProto.UINT8, "float32": onnx.TensorProto.FLOAT}

    def described(tensors: tuple[TensorSpec, ...]) -> list[Any]:
        return [helper.make_tensor_value_info(tensor.name, types[tensor.dtype], tensor.shape) for tensor in tensors]

    graph = helper.make_graph(nodes, Path(spec.file).stem, described(spec.inputs), described(spec.outputs), constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path / spec.file)
