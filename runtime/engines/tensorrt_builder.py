"""ONNX to a TensorRT engine for this very machine, by TensorRT 10 (JetPack 6), 11 and newer, or TensorRT-RTX.

Precision comes from the graph alone: its tensors have the types that the exporter gave and proved (strong typing).
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from stpr.runtime.contract.errors import EngineError
from stpr.runtime.contract.names import openable

LIBRARIES: Final = ("tensorrt", "tensorrt_rtx")
# Smallest batch, the one to be fastest at, largest: the live path's own, and one for all others.
PROFILES: Final = ((1, 1, 1), (1, 8, 8))
OLDEST: Final = 10  # whose networks can be typed by their graph


@dataclass(frozen=True, slots=True)
class Built:
    """An engine as its library writes it."""

    plan: bytes
    timings: bytes  # what was measured while it was built; empty where the library measures nothing
    types: Mapping[str, int]  # tensors between layers by element type, as the library names it


def find_library() -> ModuleType:
    """TensorRT as it is installed here; raises EngineError if it is not, or too old."""
    reasons = []
    for name in LIBRARIES:
        try:
            library = importlib.import_module(name)
        except (ImportError, OSError) as error:
            reasons.append(f"{name}: {error}")
            continue
        if name == "tensorrt" and _major(library) < OLDEST:
            reasons.append(f"{name} {library.__version__} can't take its precision from the graph")
            continue
        return library
    raise EngineError(
        f"no TensorRT here ({'; '.join(reasons)}): on a Jetson make the environment with --system-site-packages,"
        " elsewhere `pip install tensorrt`; or use --engine onnxruntime (of stpr-export: --format onnx)."
    )


def build_plan(onnx: Path, *, library: Any, capability: str | None = None, timings: bytes = b"") -> Built:
    """Build an engine from an ONNX file.

    `library` is tensorrt or tensorrt_rtx; `capability`, such as "SM86", makes the latter build for another GPU than
    this machine's. `timings` are those of an earlier build. Raises EngineError with the library's own words when it
    can't.
    """
    log = new_log(library)
    builder = library.Builder(log)
    network = _new_network(builder, library)
    parser = library.OnnxParser(network, log)
    with openable(onnx.parent) as folder:  # the weights are found beside the graph
        parsed = parser.parse_from_file(f"{folder}/{onnx.name}")
    if not parsed:
        faults = [parser.get_error(index) for index in range(parser.num_errors)]
        told = [f"{fault.node_operator()} {fault.node_name()}: {fault.desc()}" for fault in faults]
        raise EngineError(f"{onnx} can't run on {name_of(library)}, which can't read it: {words(told)}")
    config = new_config(builder, library)
    for batches in PROFILES if _free_inputs(network) else ():
        config.add_optimization_profile(_profile(builder, network, batches))
    if capability is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(library.ComputeCapability, capability), 0)
    measures = library.__name__ == "tensorrt"  # TensorRT-RTX chooses its kernels without
    if measures:
        _give_timings(config, timings)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise EngineError(f"{onnx} can't run on {name_of(library)}, which can't build it here: {words(log.errors)}")
    measured = bytes(config.get_timing_cache().serialize()) if measures else b""
    return Built(bytes(engine), measured, _types(network))


def new_config(builder: Any, library: Any) -> Any:
    """A builder's settings under which float32 is not rounded to TF32, as it is by default."""
    config = builder.create_builder_config()
    config.clear_flag(library.BuilderFlag.TF32)
    return config


def new_log(library: Any) -> Any:
    """A logger that keeps `errors` for the message instead of printing them; the library has no types."""

    class Log(library.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (library.ILogger.Severity.ERROR, library.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

    return Log()


def name_of(library: Any) -> str:
    """Library and version."""
    return f"{library.__name__} {library.__version__}"


def words(messages: list[str]) -> str:
    """The first messages of a library in one line."""
    lines = [" ".join(message.split()) for message in messages]
    return "; ".join(lines[:3]) or "it gave no reason."


def _new_network(builder: Any, library: Any) -> Any:
    """An empty network whose types are those of the graph."""
    if library.__name__ == "tensorrt" and _major(library) == OLDEST:  # which else chooses precisions for itself
        return builder.create_network(1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    return builder.create_network(0)  # TensorRT 11 and TensorRT-RTX know no other way


def _major(library: Any) -> int:
    return int(library.__version__.partition(".")[0])


def _free_inputs(network: Any) -> list[Any]:
    """Inputs whose first axis is free; the others never are."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    return [tensor for tensor in inputs if any(size < 0 for size in tensor.shape)]


def _profile(builder: Any, network: Any, batches: tuple[int, int, int]) -> Any:
    """Every input's free axis at the three batches."""
    profile = builder.create_optimization_profile()
    for tensor in _free_inputs(network):
        shapes = [tuple(batch if size < 0 else size for size in tensor.shape) for batch in batches]
        profile.set_shape(tensor.name, *shapes)
    return profile


def _give_timings(config: Any, timings: bytes) -> None:
    """Begin with what was measured before, or from nothing if it is of another version or GPU."""
    cache = config.create_timing_cache(timings)
    if cache is None or not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _types(network: Any) -> dict[str, int]:
    """How many tensors between layers have which element type."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    outputs = [layer.get_output(index) for layer in layers for index in range(layer.num_outputs)]
    return dict(Counter(tensor.dtype.name for tensor in outputs if tensor is not None))
