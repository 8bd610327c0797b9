"""Build a TensorRT engine from ONNX for this machine, with TensorRT 10 (JetPack 6), 11 and newer, or TensorRT-RTX.

The precision comes only from the graph's types, which the exporter has proved (strong typing).
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
# Minimum, optimal and maximum batch of each profile: one for the live path, one for all others.
PROFILES: Final = ((1, 1, 1), (1, 8, 8))
OLDEST: Final = 10  # oldest version with strong typing


@dataclass(frozen=True, slots=True)
class Built:
    """A serialised engine."""

    plan: bytes
    timings: bytes  # measured while building; empty if the library measures nothing
    types: Mapping[str, int]  # number of tensors between layers per element type


def find_library() -> ModuleType:
    """Import TensorRT; raises EngineError if it is missing or too old."""
    reasons = []
    for name in LIBRARIES:
        try:
            library = importlib.import_module(name)
        except (ImportError, OSError) as error:
            reasons.append(f"{name}: {error}")
            continue
        if name == "tensorrt" and _major(library) < OLDEST:
            reasons.append(f"{name} {library.__version__} has no strong typing")
            continue
        return library
    raise EngineError(
        f"no TensorRT here ({'; '.join(reasons)}): on a Jetson create the environment with --system-site-packages,"
        " elsewhere `pip install tensorrt`; or use --engine onnxruntime (of stpr-export: --format onnx)."
    )


def build_plan(onnx: Path, *, library: Any, capability: str | None = None, timings: bytes = b"") -> Built:
    """Build an engine from an ONNX file.

    `library`: tensorrt or tensorrt_rtx; `capability`, such as "SM86": build for another GPU (tensorrt_rtx only);
    `timings`: of an earlier build. Raises EngineError with the library's messages on failure.
    """
    log = new_log(library)
    builder = library.Builder(log)
    network = _new_network(builder, library)
    parser = library.OnnxParser(network, log)
    with openable(onnx.parent) as folder:  # weights are loaded from the graph's folder
        parsed = parser.parse_from_file(f"{folder}/{onnx.name}")
    if not parsed:
        faults = [parser.get_error(index) for index in range(parser.num_errors)]
        faulty = [f"{fault.node_operator()} {fault.node_name()}: {fault.desc()}" for fault in faults]
        why = words(faulty).rstrip(".")
        raise EngineError(
            f"{onnx} can't run on {name_of(library)}, which can't read it: {why}; export the stage with --target any,"
            " which checks graphs for TensorRT, or use --engine onnxruntime."
        )
    config = new_config(builder, library)
    for batches in PROFILES if _free_inputs(network) else ():
        config.add_optimization_profile(_profile(builder, network, batches))
    if capability is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(library.ComputeCapability, capability), 0)
    measures = library.__name__ == "tensorrt"  # TensorRT-RTX chooses kernels without measuring
    if measures:
        _give_timings(config, timings)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise EngineError(f"{onnx} can't run on {name_of(library)}, which can't build it here: {words(log.errors)}")
    measured = bytes(config.get_timing_cache().serialize()) if measures else b""
    return Built(bytes(engine), measured, _types(network))


def new_config(builder: Any, library: Any) -> Any:
    """A builder configuration without TF32 rounding, which is on by default."""
    config = builder.create_builder_config()
    config.clear_flag(library.BuilderFlag.TF32)
    return config


def new_log(library: Any) -> Any:
    """A logger that collects `errors` for the message instead of printing them; the library has no type hints."""

    class Log(library.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (library.ILogger.Severity.ERROR, library.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

    return Log()


def name_of(library: Any) -> str:
    """The library's name and version."""
    return f"{library.__name__} {library.__version__}"


def words(messages: list[str]) -> str:
    """Join the first messages of a library to one line."""
    lines = [" ".join(message.split()) for message in messages]
    return "; ".join(lines[:3]) or "it gave no reason."


def _new_network(builder: Any, library: Any) -> Any:
    """An empty, strongly typed network."""
    if library.__name__ == "tensorrt" and _major(library) == OLDEST:  # needs a flag for strong typing
        return builder.create_network(1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    return builder.create_network(0)  # TensorRT 11 and TensorRT-RTX are always strongly typed


def _major(library: Any) -> int:
    return int(library.__version__.partition(".")[0])


def _free_inputs(network: Any) -> list[Any]:
    """Inputs with a dynamic first axis; other axes are always fixed."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    return [tensor for tensor in inputs if any(size < 0 for size in tensor.shape)]


def _profile(builder: Any, network: Any, batches: tuple[int, int, int]) -> Any:
    """A profile that sets every input's dynamic axis to the three batch sizes."""
    profile = builder.create_optimization_profile()
    for tensor in _free_inputs(network):
        shapes = [tuple(batch if size < 0 else size for size in tensor.shape) for batch in batches]
        profile.set_shape(tensor.name, *shapes)
    return profile


def _give_timings(config: Any, timings: bytes) -> None:
    """Use earlier timings, unless they are of another version or GPU."""
    cache = config.create_timing_cache(timings)
    if cache is None or not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _types(network: Any) -> dict[str, int]:
    """Count the tensors between layers per element type."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    outputs = [layer.get_output(index) for layer in layers for index in range(layer.num_outputs)]
    return dict(Counter(tensor.dtype.name for tensor in outputs if tensor is not None))
