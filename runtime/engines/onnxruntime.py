"""ONNX Runtime on the CPU, on CUDA or with its TensorRT provider; never silently on another one."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from stpr.runtime.contract.errors import EngineError
from stpr.runtime.contract.names import openable
from stpr.runtime.contract.preprocess import Array
from stpr.runtime.engines.engine import Engine, EngineOptions
from stpr.runtime.engines.plans import Plans

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
# Keep the precision of the graphs: by default newer GPUs round float32 to 10 bits of mantissa (TF32).
PROVIDER_OPTIONS: Final[Mapping[str, Mapping[str, str]]] = {CUDA: {"use_tf32": "0"}}
# It quantises convolutions that a graph keeps in float, with one scale for all channels, wherever their input is int8.
DISABLED: Final = ("WeightBiasQuantization",)
TF32_OVERRIDE: Final = "NVIDIA_TF32_OVERRIDE"


def open_cpu(graph: Path, options: EngineOptions) -> Engine:
    """Open a graph on the CPU."""
    return OnnxRuntimeEngine(graph, (CPU,), options)


def open_cuda(graph: Path, options: EngineOptions) -> Engine:
    """Open a graph on an NVIDIA GPU."""
    return OnnxRuntimeEngine(graph, (CUDA,), options)


def open_tensorrt(graph: Path, options: EngineOptions) -> Engine:
    """Open a graph on an NVIDIA GPU with TensorRT; operators that it does not support run on CUDA.

    Its engines are cached beside the bundle, so that they are not built at every start. Sets NVIDIA_TF32_OVERRIDE=0 for
    this process, unless it is set, since the provider has no option for it.
    """
    os.environ.setdefault(TF32_OVERRIDE, "0")
    return OnnxRuntimeEngine(graph, (TENSORRT, CUDA), options)


def _kept(graph: Path) -> dict[str, str]:
    """The provider's options for caching engines and timings."""
    folder = str(Plans(graph).folder_of_another("onnxruntime"))
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
    }


class OnnxRuntimeEngine:
    """An inference session with exactly the requested provider."""

    def __init__(self, graph: Path, providers: Sequence[str], options: EngineOptions) -> None:
        """Raises EngineError if the library, the provider or the graph can't be used."""
        library = _load(providers[0])
        if not graph.is_file():
            raise EngineError(f"{graph} can't run on {providers[0]}: there is no such file.")
        settings = library.SessionOptions()
        settings.log_severity_level = 4  # errors are raised, so they need no logging
        if options.threads is not None:
            settings.intra_op_num_threads = options.threads
        if providers[0] != CPU:
            # Otherwise a provider that can't load, or unsupported nodes, silently fall back to the CPU.
            settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        self._graph = graph
        self._errors = _errors(library)
        self._session = _start(library, graph, settings, providers)
        self._outputs = [output.name for output in self._session.get_outputs()]
        # Otherwise a provider that fails during a run is permanently replaced by the CPU.
        self._session.disable_fallback()

    @property
    def name(self) -> str:
        """See `Engine`."""
        return f"onnxruntime {self._session.get_providers()[0]}"

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; returns all outputs by name. Raises EngineError if the library fails."""
        try:
            return dict(zip(self._outputs, self._session.run(self._outputs, dict(feeds)), strict=True))
        except self._errors as error:
            raise EngineError(f"{self._graph} failed on {self.name}: {_first_line(error)}") from error

    def close(self) -> None:
        """Release the memory."""
        del self._session


def with_options(providers: Sequence[str], graph: Path) -> list[tuple[str, dict[str, str]]]:
    """The providers with their options, which keep float32 precision and cache engines."""
    return [(name, _kept(graph) if name == TENSORRT else dict(PROVIDER_OPTIONS.get(name, {}))) for name in providers]


def _start(library: Any, graph: Path, settings: Any, providers: Sequence[str]) -> Any:
    wanted = providers[0]
    try:
        requested = with_options(providers, graph)
        with openable(graph.parent) as folder:  # weights are loaded from the graph's folder
            session = library.InferenceSession(
                f"{folder}/{graph.name}",
                settings,
                providers=requested,
                enable_fallback=False,
                disabled_optimizers=[*DISABLED],
            )
    except _errors(library) as error:
        raise EngineError(f"{graph} can't run on {wanted}: {why_not_started(error, wanted)}") from error
    if session.get_providers()[0] != wanted:
        raise EngineError(f"asked for {wanted}, got {session.get_providers()[0]}: {_remedy(wanted)}")
    return session


def why_not_started(error: Exception, wanted: str) -> str:
    """Cause and fix if a session did not start."""
    if "fallback to CPU EP has been explicitly disabled" in str(error):
        return (
            "it computes shapes at run time, which ONNX Runtime does on the CPU, as in bundles of an older stpr:"
            " export the stage again, or use --engine onnxruntime for the CPU."
        )
    if "escapes model directory" in str(error):
        return (
            "its weights are links to another folder, which ONNX Runtime does not follow: copy the bundle with the"
            " files themselves, as `cp -rL BUNDLE COPY` does."
        )
    return f"{_first_line(error)}; {_remedy(wanted)}"


def _load(wanted: str) -> Any:
    try:
        library = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise EngineError(f"onnxruntime can't be imported here ({error}): {_remedy(wanted)}") from error
    if not hasattr(library, "InferenceSession"):
        raise EngineError(f"the onnxruntime that is installed here is damaged: {_remedy(wanted)}")
    if wanted not in library.get_available_providers():
        raise EngineError(f"the onnxruntime {library.__version__} here has no {wanted}: {_remedy(wanted)}")
    library.set_default_logger_severity(4)  # as for sessions: errors are raised, so they need no logging
    if wanted != CPU:
        _load_cuda(library)
    return library


def _load_cuda(library: Any) -> None:
    """Load CUDA's and cuDNN's libraries from pip packages, which the system's loader does not search.

    Others are left to the loader; a provider that can't start reports that itself.
    """
    if hasattr(library, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints a line per library that is not from pip
            library.preload_dlls(directory="")


def _remedy(wanted: str) -> str:
    """What to install; two installed variants overwrite each other's files, so that case comes first."""
    extra = "server" if wanted == CPU else "gpu"
    present = [f"{name} {version}" for name in ("onnxruntime", "onnxruntime-gpu") if (version := _version(name))]
    if len(present) > 1:
        return (
            f"{' and '.join(present)} are both installed and overwrite each other; run"
            f' `pip uninstall onnxruntime onnxruntime-gpu`, then `pip install "stpr[{extra}]"`.'
        )
    cpu = "" if wanted == CPU else ", or use --engine onnxruntime for the CPU"
    return f'`pip install "stpr[{extra}]"`{cpu}.'


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _errors(library: Any) -> tuple[type[Exception], ...]:
    """ONNX Runtime's exceptions, which have no common base class below Exception."""
    known = vars(library.capi.onnxruntime_pybind11_state).values()
    own = tuple(kind for kind in known if isinstance(kind, type) and issubclass(kind, Exception))
    return (RuntimeError, ValueError, *own)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")
