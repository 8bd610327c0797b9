"""Engines run the graphs of a bundle on this machine: a small interface, one file per engine.

To add one: a file with a function that opens a graph, then its import and its entry in ENGINES here.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path

from stpr.runtime.contract.bundle import Bundle
from stpr.runtime.contract.errors import EngineError
from stpr.runtime.contract.manifest import GraphName
from stpr.runtime.engines.engine import Engine, EngineOptions
from stpr.runtime.engines.onnxruntime import open_cpu, open_cuda, open_tensorrt
from stpr.runtime.engines.openvino import open_openvino
from stpr.runtime.engines.tensorrt import open_native, why_to_build

ENGINES: Mapping[str, Callable[[Path, EngineOptions], Engine]] = {
    "onnxruntime": open_cpu,
    "onnxruntime-cuda": open_cuda,
    "onnxruntime-tensorrt": open_tensorrt,
    "tensorrt": open_native,
    "openvino": open_openvino,
}
# Which engine runs the head where that of the encoder is slow at it: OpenVINO takes longer for its many small layers.
HEADS: Mapping[str, str] = {"openvino": "onnxruntime"}
# Engines that are made on this machine, which may take minutes: why a graph's has yet to be, None if it is kept.
BUILT: Mapping[str, Callable[[Path], str | None]] = {"tensorrt": why_to_build}
DEFAULTS = EngineOptions()


def open_graph(name: str, bundle: Bundle, graph: GraphName, options: EngineOptions = DEFAULTS) -> Engine:
    """A graph of a bundle on the engine of that name, the head by HEADS; raises EngineError as `open_engine` does."""
    return open_engine(HEADS.get(name, name) if graph is GraphName.HEAD else name, bundle.graph(graph), options)


def why_to_wait(name: str, bundle: Bundle) -> str | None:
    """Why opening encoder and head on that engine would take minutes; None where it would not. Raises EngineError."""
    if name in BUILT:
        for graph in (GraphName.ENCODER, GraphName.HEAD):
            if (why := BUILT[name](bundle.graph(graph))) is not None:
                return f"the {name} engine of the {graph} has yet to be built ({why})"
    return None


def open_engine(name: str, graph: Path, options: EngineOptions = DEFAULTS) -> Engine:
    """The engine of that name with `graph` loaded.

    Raises EngineError for an unknown name, and when the graph can't run here the way that was asked for.
    """
    if name not in ENGINES:
        near = difflib.get_close_matches(name, ENGINES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise EngineError(f"there is no engine {name!r}: {hint}choose one of {', '.join(ENGINES)}.")
    return ENGINES[name](graph, options)
