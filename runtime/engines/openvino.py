"""OpenVINO on the CPU, in the precision of the graph: by itself it computes in bfloat16 where the processor can."""

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
    """A graph on the CPU. Raises EngineError when it can't run here in the precision that it has."""
    return OpenVINOEngine(graph, options)


class OpenVINOEngine:
    """One compiled graph, whose layers compute in the types that the graph says."""

    def __init__(self, graph: Path, options: EngineOptions) -> None:
        """Raises EngineError when the library or the graph is not usable, or a precision would be another."""
        library = load_library()
        self._graph, where = graph, f"OpenVINO {library.__version__.partition('-')[0]}"
        if not graph.is_file():
            raise EngineError(f"{graph} can't run on {where}: there is no such file.")
        self._errors: tuple[type[Exception], ...] = (OSError, RuntimeError, ValueError, *_own_errors(library))
        threads = {} if options.threads is None else {"INFERENCE_NUM_THREADS": options.threads}
        try:
            with openable(graph.parent) as folder:  # the weights are found beside the graph
                reader = library.frontend.FrontEndManager().load_by_framework("onnx")  # no other one is asked
                model = reader.convert(reader.load(f"{folder}/{graph.name}"))
                compiled = library.Core().compile_model(model, "CPU", {**SETTINGS, **threads})
            layers = _layers(compiled)
            got = compiled.get_property(HINT).get_type_name()
        except self._errors as error:
            raise EngineError(f"{graph} can't run on {where}: {_point(error)}; use --engine onnxruntime.") from error
        _refuse_other(graph, where, layers, got, is_quantised=_has(model, "FakeQuantize"))
        self._name = ", ".join([f"{where} CPU", *(f"{count} layers in {kind}" for kind, count in layers.items())])
        self._dtypes = {one.any_name: one.element_type.to_dtype() for one in compiled.inputs}
        self._outputs = [one.any_name for one in compiled.outputs]
        self._request = compiled.create_infer_request()

    @property
    def name(self) -> str:
        """What really runs the graph, and in which types."""
        return self._name

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; every output by name. Raises EngineError for feeds that don't fit, and when the library gives up.

        By itself it takes other types as if they fitted, and what was fed before for what is not fed.
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
        """Give the memory back."""
        del self._request


def load_library() -> Any:
    """The package, without its telemetry. Raises EngineError where it is not installed.

    Imported plainly it writes an id into the home folder and reports the import to Google Analytics, unasked.
    """
    try:
        with _without_telemetry():
            return importlib.import_module("openvino")
    except ImportError as error:
        raise EngineError(f"OpenVINO can't be imported here ({error}): {REMEDY}") from error


@contextlib.contextmanager
def _without_telemetry() -> Iterator[None]:
    """While it is imported, the package that reports is not to be found; OpenVINO has a stand-in for that case."""
    if TELEMETRY in sys.modules:  # somebody else's import, in whose hands it is
        yield
        return
    blocked: dict[str, Any] = {TELEMETRY: None}
    sys.modules.update(blocked)
    try:
        yield
    finally:
        sys.modules.pop(TELEMETRY, None)


def _own_errors(library: Any) -> tuple[type[Exception], ...]:
    """What reading a graph raises: these have no common base below Exception."""
    return tuple(
        kind for kind in vars(library.frontend).values() if isinstance(kind, type) and issubclass(kind, Exception)
    )


def _layers(compiled: Any) -> dict[str, int]:
    """How many of LAYERS compute in which type, by what the plug-in made of the graph."""
    told = (node.get_rt_info() for node in compiled.get_runtime_model().get_ops())
    kinds = (str(one["runtimePrecision"].value) for one in told if str(one["layerType"].value) in LAYERS)
    return dict(sorted(Counter(kinds).items()))


def _refuse_other(graph: Path, where: str, layers: Mapping[str, int], got: str, *, is_quantised: bool) -> None:
    """Raise EngineError where layers have another precision than the graph."""
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
    """What an error of several lines comes to."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not PLACES.match(line)] or lines
    return " ".join(said[-1].split()).rstrip(".") if said else repr(error)
