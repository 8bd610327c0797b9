"""ONNX to a TensorRT engine for this very machine; written against what TensorRT 10, 11 and TensorRT-RTX share.

Precision comes from the graph alone (strong typing): TensorRT 11 knows no other way, and 10 then does the same.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from stpr.runtime.contract.errors import EngineError

LIBRARIES: Final = ("tensorrt", "tensorrt_rtx")
BATCHES: Final = (1, 1, 8)  # smallest, the one to be fastest at, largest


def find_library() -> ModuleType:
    """TensorRT as it is installed here; raises EngineError if it is not."""
    reasons = []
    for name in LIBRARIES:
        try:
            return importlib.import_module(name)
        except (ImportError, OSError) as error:
            reasons.append(f"{name}: {error}")
    raise EngineError(
        f"no TensorRT here ({'; '.join(reasons)}): on a Jetson make the environment with --system-site-packages,"
        " elsewhere `pip install tensorrt`; or use --format onnx."
    )


def build_engine(onnx: Path, target: Path, *, library: Any, capability: str | None = None) -> None:
    """Build an engine from an ONNX file and write it to `target`.

    `library` is tensorrt or tensorrt_rtx; `capability`, such as "SM86", makes the latter build for another GPU than
    this machine's. Raises EngineError with the library's own words when it can't.
    """
    log = _log(library)
    builder = library.Builder(log)
    # Always on, and so without a name, in some versions.
    strong = getattr(library.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if strong is None else 1 << int(strong))
    parser = library.OnnxParser(network, log)
    if not parser.parse_from_file(str(onnx)):
        faults = [parser.get_error(index) for index in range(parser.num_errors)]
        told = [f"{fault.node_operator()} {fault.node_name()}: {fault.desc()}" for fault in faults]
        raise EngineError(f"{library.__name__} {library.__version__} can't read {onnx}: {_words(told)}")
    config = new_config(builder, library)
    config.add_optimization_profile(_profile(builder, network))
    if capability is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(library.ComputeCapability, capability), 0)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise EngineError(
            f"{library.__name__} {library.__version__} can't build {onnx} on this machine: {_words(log.errors)}"
        )
    target.write_bytes(engine)


def new_config(builder: Any, library: Any) -> Any:
    """A builder's settings under which float32 is not rounded to TF32, as it is by default."""
    config = builder.create_builder_config()
    config.clear_flag(library.BuilderFlag.TF32)
    return config


def _profile(builder: Any, network: Any) -> Any:
    """Every input's free axis, which is its first, at the three batches."""
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shapes = [tuple(batch if size < 0 else size for size in tensor.shape) for batch in BATCHES]
        profile.set_shape(tensor.name, *shapes)
    return profile


def _log(library: Any) -> Any:
    """A logger that keeps errors for the message instead of printing them; the library has no types."""

    class Log(library.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (library.ILogger.Severity.ERROR, library.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

    return Log()


def _words(messages: list[str]) -> str:
    lines = [" ".join(message.split()) for message in messages]
    return "; ".join(lines[:3]) or "it gave no reason."
