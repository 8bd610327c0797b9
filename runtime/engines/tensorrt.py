"""TensorRT through its Python API, with memory from CUDA's runtime library: without torch or other CUDA wrappers.

An engine is built for this machine when a graph is first opened, and cached (plans.py). One profile is for batch size
1, the live path; other batches run in chunks of at most eight.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from stpr.runtime.contract.errors import EngineError
from stpr.runtime.contract.preprocess import Array
from stpr.runtime.engines.cudart import CudaError, Gpu, open_gpu
from stpr.runtime.engines.engine import Engine, EngineOptions
from stpr.runtime.engines.plans import Plans
from stpr.runtime.engines.tensorrt_builder import PROFILES, build_plan, find_library, name_of, new_log, words

log = logging.getLogger(__name__)

DTYPES: Final[Mapping[str, type[np.generic]]] = {  # by TensorRT's names
    "UINT8": np.uint8,
    "FLOAT": np.float32,
    "HALF": np.float16,
}
RELEASE: Final = Path("/etc/nv_tegra_release")  # contains a Jetson's L4T version
ROOM: Final = 32_000_000  # bytes needed for building, in addition to those proportional to the weights, on the disk ...
MEMORY: Final = 256_000_000  # ... and on the GPU
TICK: Final = 20.0  # seconds between progress messages while building
End: TypeAlias = tuple[type[np.generic], tuple[int, ...]]  # element type and shape, -1 for a dynamic axis
Ends: TypeAlias = Mapping[str, End]  # inputs or outputs of a graph, by name


def open_native(graph: Path, options: EngineOptions) -> Engine:
    """Open a graph on an NVIDIA GPU with TensorRT. Raises EngineError if it can't run here."""
    del options  # threads don't apply to the GPU
    return TensorRTEngine(graph)


def check_here() -> None:
    """Raise EngineError unless library and GPU are available."""
    find_library()
    open_gpu().close()


def why_to_build(graph: Path) -> str | None:
    """Why a graph has first to be built here, which may take minutes; None where what is kept fits.

    Raises EngineError unless library and GPU are there.
    """
    library = find_library()
    with closing(open_gpu()) as gpu:
        plans = Plans(graph)
        found = plans.find({**plans.files(), **_machine(library, gpu)})
    return None if found.data is not None else found.reason


class TensorRTEngine:
    """An engine with its GPU memory."""

    def __init__(self, graph: Path) -> None:
        """Raises EngineError if library, GPU or graph can't be used, or there is too little space."""
        self._graph = graph
        if not graph.is_file():
            raise EngineError(f"{graph} can't run on TensorRT: there is no such file.")
        library = find_library()
        with ExitStack() as opened:
            self._gpu = open_gpu()
            opened.callback(self._gpu.close)
            self._name = f"{name_of(library)} on {self._gpu.name}"
            self._log = new_log(library)
            self._runtime = library.Runtime(self._log)
            self._engine = _engine(graph, library, self._gpu, self._load)
            self._inputs, self._outputs = _ends(self._engine, library)
            self._lanes: dict[int, _Lane] = {}
            opened.pop_all()

    @property
    def name(self) -> str:
        """See `Engine`."""
        return self._name

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; returns all outputs by name. Raises EngineError for invalid feeds, and if CUDA fails."""
        count = self._checked(feeds)
        lane = self._lane(0 if count == 1 else self._engine.num_optimization_profiles - 1)
        pieces = []
        for start in range(0, count, lane.most):
            piece = {name: array[start : start + lane.most] for name, array in feeds.items()}
            try:
                pieces.append(lane.run(piece))
            except (CudaError, RuntimeError) as error:
                raise self._failed("failed on", str(error)) from error
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in self._outputs}

    def close(self) -> None:
        """Release everything, in the order of dependencies."""
        self._lanes.clear()
        del self._engine, self._runtime
        self._gpu.close()

    def _load(self, plan: bytes) -> Any:
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            why = words(self._log.errors).rstrip(".")
            raise self._failed("can't run on", f"{why}; use --engine onnxruntime-cuda")
        return engine

    def _checked(self, feeds: Mapping[str, Array]) -> int:
        """Check the feeds; returns the batch size."""
        counts = {array.shape[:1] for array in feeds.values()}
        fits = feeds.keys() == self._inputs.keys() and all(
            feeds[name].dtype == dtype and feeds[name].shape[1:] == shape[1:]
            for name, (dtype, shape) in self._inputs.items()
        )
        if not fits or len(counts) != 1 or counts == {(0,)}:
            wanted, given = (
                ", ".join(f"{name} {np.dtype(dtype).name}{list(shape)}" for name, (dtype, shape) in ends)
                for ends in (self._inputs.items(), ((name, (one.dtype, one.shape)) for name, one in feeds.items()))
            )
            raise self._failed("failed on", f"it takes {wanted}, received {given}")
        return int(next(iter(counts))[0])

    def _lane(self, profile: int) -> _Lane:
        if profile not in self._lanes:
            try:
                self._lanes[profile] = _Lane(self._engine, profile, self._gpu, self._inputs, self._outputs)
            except (CudaError, RuntimeError) as error:
                raise self._failed("can't run on", f"{error}; {words(self._log.errors)}") from error
        return self._lanes[profile]

    def _failed(self, how: str, why: str) -> EngineError:
        return EngineError(f"{self._graph} {how} {self._name}: {' '.join(why.split()).rstrip('.')}.")


class _Lane:
    """An execution context for one profile, with pinned host memory and GPU memory for each input and output."""

    def __init__(self, engine: Any, profile: int, gpu: Gpu, inputs: Ends, outputs: Ends) -> None:
        """Raises CudaError if there is too little memory."""
        self._gpu = gpu
        self._context = engine.create_execution_context()
        if self._context is None:
            raise RuntimeError("no context for it")
        self._context.set_optimization_profile_async(profile, gpu.stream)
        self._outputs = outputs
        self._here: dict[str, Array] = {}
        self._there: dict[str, int] = {}
        self.most = min(_most(engine, profile, name, shape) for name, (_, shape) in inputs.items())
        for name, (_, shape) in inputs.items():
            self._context.set_input_shape(name, (self.most, *shape[1:]))
        for name, (dtype, _) in {**inputs, **outputs}.items():
            size = _bytes_of(tuple(self._context.get_tensor_shape(name)), dtype)
            self._here[name], self._there[name] = gpu.pinned(size), gpu.allocate(size)
            self._context.set_tensor_address(name, self._there[name])
        gpu.wait()

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Copy in, run, copy out, wait; the returned arrays are copies."""
        for name, array in feeds.items():
            source = self._bytes(name, array.shape, array.dtype)
            source[...] = array
            self._gpu.upload(self._there[name], source)
            if not self._context.set_input_shape(name, array.shape):
                raise RuntimeError(f"{name} {list(array.shape)} is refused")
        if not self._context.execute_async_v3(self._gpu.stream):
            raise RuntimeError("it could not be started")
        found = {}
        for name, (dtype, _) in self._outputs.items():
            found[name] = self._bytes(name, tuple(self._context.get_tensor_shape(name)), dtype)
            self._gpu.download(found[name], self._there[name])
        self._gpu.wait()
        return {name: array.copy() for name, array in found.items()}

    def _bytes(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array view of an input's or output's pinned memory."""
        seen: Array = self._here[name][: _bytes_of(shape, dtype)].view(dtype).reshape(shape)
        return seen


def _most(engine: Any, profile: int, name: str, shape: tuple[int, ...]) -> int:
    """The largest batch of an input: the profile's, or the graph's fixed one."""
    return shape[0] if shape[0] > 0 else int(engine.get_tensor_profile_shape(name, profile)[2][0])


def _bytes_of(shape: tuple[int, ...], dtype: Any) -> int:
    return math.prod(shape) * int(np.dtype(dtype).itemsize)


def _ends(engine: Any, library: Any) -> tuple[Ends, Ends]:
    """The inputs and outputs of an engine."""
    inputs: dict[str, End] = {}
    outputs: dict[str, End] = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        ends = inputs if engine.get_tensor_mode(name) == library.TensorIOMode.INPUT else outputs
        ends[name] = DTYPES[engine.get_tensor_dtype(name).name], tuple(engine.get_tensor_shape(name))
    return inputs, outputs


def _engine(graph: Path, library: Any, gpu: Gpu, load: Callable[[bytes], Any]) -> Any:
    """The graph's engine for this machine: its plan is from the cache, or built, and cached if it loads here."""
    plans = Plans(graph)
    key = {**plans.files(), **_machine(library, gpu)}
    found = plans.find(key)
    if found.data is not None:
        return load(found.data)
    with plans.alone(_say):
        found = plans.find(key)  # may have been built by the process we waited for
        if found.data is not None:
            return load(found.data)
        _check_room(graph, plans, gpu)
        timings = f"{name_of(library)} {key['GPU']} {key['compute capability']}"
        _say(f"building a TensorRT engine of {graph.name} for {gpu.name} ({name_of(library)}): {found.reason}")
        started = time.monotonic()
        with _clock(graph.name):
            built = build_plan(graph, library=library, timings=plans.timings(timings))
        seconds = time.monotonic() - started
        engine = load(built.plan)
        kept = plans.keep(built.plan, key, seconds, built.types)
        if built.timings:
            plans.keep_timings(timings, built.timings)
    types = ", ".join(f"{count} {name}" for name, count in built.types.items())
    _say(f"built in {seconds:.1f} s ({types} tensors), kept as {kept}")
    return engine


def _machine(library: Any, gpu: Gpu) -> dict[str, str]:
    """The machine's part of a plan's key; keys are the names shown to the user if one has changed."""
    release = RELEASE.read_text(encoding="utf-8").partition("\n")[0] if RELEASE.is_file() else "none"
    return {
        "library": name_of(library),
        "GPU": gpu.name,
        "compute capability": gpu.capability,
        "CUDA runtime and driver": gpu.versions,
        "L4T": release,
        "profiles": str(PROFILES),
        "TF32": "off",
        "precision": "of the graph",
    }


def _check_room(graph: Path, plans: Plans, gpu: Gpu) -> None:
    """Raise EngineError before building if disk or GPU have too little space for a plan."""
    size = plans.size()
    plans.check_room(2 * size + ROOM)
    needs, free = 3 * size + MEMORY, gpu.free_bytes()
    if free < needs:
        raise EngineError(
            f"too little memory to build a TensorRT engine of {graph} on {gpu.name}: it needs about"
            f" {needs / 1e6:.0f} MB of which {free / 1e6:.0f} are free; end other programs there."
        )


@contextmanager
def _clock(what: str) -> Iterator[None]:
    """Report the elapsed time now and then; the remaining time is unknown."""
    done = threading.Event()

    def tick() -> None:
        started = time.monotonic()
        while not done.wait(TICK):
            _say(f"building {what}: {time.monotonic() - started:.0f} s so far")

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _say(words: str) -> None:
    # A warning, so that it is always shown, since building takes minutes.
    log.warning("%s", words)
