"""OpenVINO on the CPU, in the precision of the graph (by default it uses bfloat16 if the processor supports it)."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from stpr.runtime.contract.errors import EngineError
from stpr.runtime.contract.names import openable
from stpr.runtime.contract.preprocess import Array
from stpr.runtime.engines.engine import Engine, EngineOptions

HINT: Final = "INFERENCE_PRECISION_HINT"
SETTINGS: Final[Mapping[str, object]] = {
    HINT: "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,  # else activations may be rounded where weights are int8
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,  # encoder, head and the next bundle would all be bound to the same cores
}
LAYERS: Final = ("Convolution", "FullyConnected", "MatMul")  # as it calls what has weights, or multiplies
WHOLE, QUANTISED = "f32", ("i8", "u8")
TELEMETRY: Final = "openvino_telemetry"
REMEDY: Final = '`pip install "stpr[openvino]"`, or use --engine onnxruntime.'
# What it says of its own source files, before it comes to the point.
PLACES: Final = re.compile(r"^(Exception from \S+|Check '.*|FrontEnd API failed with .*)$")


def open_openvino(graph: Path, options: EngineOptions) -> Engine:
    """Open a graph on the CPU. Raises EngineError if it can't run here in its own precision."""
    return OpenVINOEngine(graph, options)


class OpenVINOEngine:
    """A compiled graph whose layers have the types of the graph."""

    def __init__(self, graph: Path, options: EngineOptions) -> None:
        """Raises EngineError if the library or the graph can't be used, or the precision would differ."""
        library = load_library()
        self._graph, where = graph, f"OpenVINO {library.__version__.partition('-')[0]}"
        if not graph.is_file():
            raise EngineError(f"{graph} can't run on {where}: there is no such file.")
        self._errors: tuple[type[Exception], ...] = (OSError, RuntimeError, ValueError, *_own_errors(library))
        threads = {} if options.threads is None else {"INFERENCE_NUM_THREADS": options.threads}
        try:
            with openable(graph.parent) as folder:  # the weights are found beside the graph
                reader = library.frontend.FrontEndManager().load_by_framework("onnx")  # no other one is asked
                given = reader.load(f"{folder}/{graph.name}")
                # A tensor may have several names once nodes were merged, of which only these are the graph's own.
                inputs = [end.get_names()[0] for end in given.get_inputs()]
                self._outputs = [end.get_names()[0] for end in given.get_outputs()]
                model = reader.convert(given)
                compiled = library.Core().compile_model(model, "CPU", {**SETTINGS, **threads})
            layers = _layers(compiled)
            got = compiled.get_property(HINT).get_type_name()
        except self._errors as error:
            raise EngineError(f"{graph} can't run on {where}: {_point(error)}; use --engine onnxruntime.") from error
        _refuse_other(graph, where, layers, got, is_quantised=_has(model, "FakeQuantize"))
        self._name = ", ".join([f"{where} CPU", *(f"{count} layers in {kind}" for kind, count in layers.items())])
        self._dtypes = {name: one.element_type.to_dtype() for name, one in zip(inputs, compiled.inputs, strict=True)}
        self._request = compiled.create_infer_request()

    @property
    def name(self) -> str:
        """See `Engine`; includes the types of the layers."""
        return self._name

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; returns all outputs by name. Raises EngineError for invalid feeds, and if the library fails.

        The library itself accepts wrong types, and reuses earlier values of missing inputs.
        """
        given = {name: array.dtype for name, array in feeds.items()}
        if given != self._dtypes:
            wanted, got = (", ".join(f"{name} {kind}" for name, kind in one.items()) for one in (self._dtypes, given))
            raise EngineError(f"{self._graph} failed on {self._name}: it takes {wanted}, received {got or 'nothing'}.")
        try:
            found = self._request.infer(dict(feeds), share_inputs=True)
        except self._errors as error:
            raise EngineError(f"{self._graph} failed on {self._name}: {_point(error)}.") from error
        return {name: found[index] for index, name in enumerate(self._outputs)}

    def close(self) -> None:
        """Release the memory."""
        del self._request


def load_library() -> Any:
    """Import the package without its telemetry. Raises EngineError if it is not installed.

    A plain import writes an id into the home folder and reports the import to Google Analytics.
    """
    try:
        with _without_telemetry():
            return importlib.import_module("openvino")
    except ImportError as error:
        raise EngineError(f"OpenVINO can't be imported here ({error}): {REMEDY}") from error


@contextlib.contextmanager
def _without_telemetry() -> Iterator[None]:
    """Hide the telemetry package during the import, for which OpenVINO has a fallback."""
    if TELEMETRY in sys.modules:  # imported by somebody else, so their choice
        yield
        return
    blocked: dict[str, Any] = {TELEMETRY: None}
    sys.modules.update(blocked)
    try:
        yield
    finally:
        sys.modules.pop(TELEMETRY, None)


def _own_errors(library: Any) -> tuple[type[Exception], ...]:
    """The exceptions of reading a graph, which have no common base class below Exception."""
    return tuple(
        kind for kind in vars(library.frontend).values() if isinstance(kind, type) and issubclass(kind, Exception)
    )


def _layers(compiled: Any) -> dict[str, int]:
    """Count LAYERS of the compiled graph per element type."""
    infos = (node.get_rt_info() for node in compiled.get_runtime_model().get_ops())
    kinds = (str(one["runtimePrecision"].value) for one in infos if str(one["layerType"].value) in LAYERS)
    return dict(sorted(Counter(kinds).items()))


def _refuse_other(graph: Path, where: str, layers: Mapping[str, int], got: str, *, is_quantised: bool) -> None:
    """Raise EngineError if layers have another precision than the graph."""
    if got != WHOLE or not layers.keys() <= {WHOLE, *QUANTISED}:
        raise EngineError(
            f"{graph} can't run on {where} in its own precision: asked for {WHOLE}, got {dict(layers)} layers;"
            " use --engine onnxruntime."
        )
    if is_quantised and not layers.keys() & set(QUANTISED):
        raise EngineError(
            f"{graph} can't run on {where} in its own precision: asked for int8, got {dict(layers)} layers;"
            " use --engine onnxruntime."
        )


def _has(model: Any, kind: str) -> bool:
    return any(node.get_type_name() == kind for node in model.get_ops())


def _point(error: Exception) -> str:
    """Shorten an error of several lines to its essential line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    essential = [line for line in lines if not PLACES.match(line)] or lines
    return " ".join(essential[-1].split()).rstrip(".") if essential else repr(error)
