"""The costs of a bundle: total size, and bytes, parameters and FLOPs of encoder, experts and combiner."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from stpr.export.parity.candidate import ENGINE
from stpr.runtime.contract.errors import BundleError
from stpr.runtime.contract.manifest import GraphName
from stpr.runtime.contract.preprocess import Array
from stpr.runtime.engines import open_engine
from stpr.train.estimate.footprint import flops_of, head_flops
from stpr.train.model.stpr import StPR

GRAPH_BYTES: Final = 1 << 20  # estimated size of the graphs' nodes ...
EXPERT_BYTES: Final = 1 << 16  # ... and of each expert's nodes
WARM, CALLS = 10, 100
ENCODER, EXPERT, COMBINER = "encoder", "expert", "combiner"


@dataclass(frozen=True, slots=True)
class Part:
    """Per instance: bytes and number of its weights as stored in the files, FLOPs of one call in float32.

    The encoder is called per frame, the others per window. FLOPs count two per multiply-add of matrix products and
    convolutions; element-wise operations are not counted.
    """

    name: str
    count: int
    bytes: int
    parameters: int
    flops: int


def parts_of(folder: Path, files: Mapping[GraphName, str], model: StPR) -> tuple[Part, ...]:
    """The parts of `model`'s graphs `files` in `folder`; all experts are alike, so they are one entry."""
    encoder, head = (_weights(folder / files[name]) for name in (GraphName.ENCODER, GraphName.HEAD))
    pixels, costs = model.encoder.pixels, head_flops(model.head)
    frame = torch.zeros(1, *pixels.shape, dtype=torch.uint8)
    experts = [one for one in head if one.name.startswith("expert_")]
    first = [one for one in experts if one.name.startswith("expert_1/")]
    rest = [one for one in head if not one.name.startswith("expert_")]
    found = [_part(ENCODER, 1, encoder, flops_of(model.encoder, frame))]
    if costs.experts:
        found.append(_part(EXPERT, costs.experts, first, costs.expert))
    return (*found, _part(COMBINER, 1, rest, costs.combiner))


def _part(name: str, count: int, tensors: Iterable[TensorProto], flops: int) -> Part:
    held = [(prod(one.dims), helper.tensor_dtype_to_np_dtype(one.data_type).itemsize) for one in tensors]
    return Part(name, count, sum(size * each for size, each in held), sum(size for size, _ in held), flops)


def _weights(graph: Path) -> list[TensorProto]:
    """The tensors of a graph that are stored in weight files."""
    model = onnx.load(str(graph), load_external_data=False)
    return [one for one in model.graph.initializer if one.data_location == TensorProto.EXTERNAL]


def size_ahead(model: StPR) -> int:
    """Approximate bytes of a bundle in one precision: weights, one clip, and graphs."""
    weights = sum(value.nbytes for value in [*model.parameters(), *model.buffers()])
    experts, pixels = len(model.head.experts), prod(model.encoder.pixels.shape)
    golden = model.head.frames * (pixels + 4 * model.head.columns.width)
    return weights + golden + GRAPH_BYTES + experts * EXPERT_BYTES


@dataclass(frozen=True, slots=True)
class Latency:
    """95th percentile of milliseconds at batch 1: one frame, one window, and both in sequence."""

    encoder: float
    head: float
    both: float
    engine: str


def latency_here(folder: Path, files: Mapping[GraphName, str]) -> Latency:
    """Measure the time per frame and window on this machine, with the engine for devices without a GPU."""
    with ExitStack() as opened:
        calls = [_call(folder / files[name], opened) for name in (GraphName.ENCODER, GraphName.HEAD)]
        times = np.array([[_seconds(call.run, call.feeds) for call in calls] for _ in range(WARM + CALLS)])[WARM:]
        encoder, head, both = 1e3 * np.percentile(np.column_stack([times, times.sum(axis=1)]), 95, axis=0)
        return Latency(float(encoder), float(head), float(both), calls[0].engine)


def check_latency(found: Latency, most: float) -> None:
    """Raise BundleError if a frame and its window take more than `most` milliseconds."""
    if found.both > most:
        raise BundleError(
            f"a frame and its window take {found.both:.2f} ms (p95 of {CALLS} calls on {found.engine} of this machine;"
            f" frame {found.encoder:.2f}, window {found.head:.2f}), more than --max-p95-ms {most:g}, so there is no"
            " bundle; allow more, try --precision int8, or train with a lighter backbone or expert.width."
        )


@dataclass(frozen=True, slots=True)
class _Call:
    engine: str
    run: Callable[[dict[str, Array]], object]
    feeds: dict[str, Array]


def _call(graph: Path, opened: ExitStack) -> _Call:
    engine = open_engine(ENGINE, graph)
    opened.callback(engine.close)
    rng, feeds = np.random.default_rng(0), {}
    for given in onnx.load(str(graph), load_external_data=False).graph.input:
        kind = helper.tensor_dtype_to_np_dtype(given.type.tensor_type.elem_type)
        shape = [axis.dim_value or 1 for axis in given.type.tensor_type.shape.dim]
        feeds[given.name] = (100 * rng.random(shape)).astype(kind) if kind == np.uint8 else rng.random(shape, kind)
    return _Call(engine.name, engine.run, feeds)


def _seconds(run: Callable[[dict[str, Array]], object], feeds: dict[str, Array]) -> float:
    started = time.perf_counter()
    run(feeds)
    return time.perf_counter() - started
