"""A machine with a GPU that is none: libcudart in C, and a `tensorrt` whose engines onnxruntime runs on raw pointers.

Both do as the real ones where a mistake of ours would show: nothing that was begun has happened before the stream is
synchronised, fresh memory is full of 0xff, a profile refuses other batches, and what isn't given back is counted.
"""

from __future__ import annotations

import base64
import ctypes
import json
import shutil
import subprocess
import sys
from enum import Enum, IntEnum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
import pytest

from stpr.runtime.engines import cudart

SOURCE: Final = Path(__file__).with_name("fake_cudart.c")
CALL: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
NUMBERS: Final = {1: "FLOAT", 2: "UINT8", 10: "HALF"}  # of ONNX's element types
DTYPES: Final = {"FLOAT": np.float32, "UINT8": np.uint8, "HALF": np.float16}


class Machine:
    """The two libraries, where the engine finds them."""

    def __init__(self, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """`library` is what `compile_cudart` made."""
        self.cuda = ctypes.CDLL(str(library))
        self.cuda.fake_budget.argtypes = (ctypes.c_size_t,)
        self.cuda.fake_enqueue.argtypes = (ctypes.c_void_p, CALL, ctypes.c_void_p)
        self.cuda.fake_reset()
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(cudart, "places", lambda: iter([str(library)]))
        self.install("10.3.0")

    def install(self, version: str) -> Any:
        """Put a `tensorrt` of that version in place; returns it."""
        self.tensorrt = make_tensorrt(version, self.cuda)
        self._monkeypatch.setitem(sys.modules, "tensorrt", self.tensorrt)
        return self.tensorrt

    @property
    def live(self) -> int:
        """Allocations and streams that nobody gave back."""
        return int(self.cuda.fake_live())


def compile_cudart(folder: Path) -> Path:
    """The library in C; skips the test where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    file = folder / "libcudart.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-O1", "-o", file, SOURCE], check=True)
    return file


def make_tensorrt(version: str, cuda: ctypes.CDLL) -> Any:
    """A module of that version; `built` lists what its builders were told, plan by plan."""
    module: Any = ModuleType("tensorrt")
    module.__version__ = version
    module.built = []
    module.capable = True  # of running what it builds
    module.cuda = cuda
    module.ILogger = type("ILogger", (), {"Severity": _Severity})
    module.BuilderFlag = SimpleNamespace(TF32="TF32")
    module.TensorIOMode = _Mode
    if version.startswith("10."):
        module.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    module.Builder = lambda log: _Builder(module, log)
    module.OnnxParser = _Parser
    module.Runtime = lambda log: _Runtime(module, log)
    return module


class _Severity(Enum):
    INTERNAL_ERROR = 0
    ERROR = 1


class _Mode(IntEnum):
    INPUT = 1
    OUTPUT = 2


class _Builder:
    def __init__(self, module: Any, log: Any) -> None:
        self.module, self.log = module, log

    def create_network(self, flags: int) -> Any:
        return SimpleNamespace(flags=flags, model=None, num_inputs=0, num_layers=0)

    def create_builder_config(self) -> _Config:
        return _Config()

    def create_optimization_profile(self) -> Any:
        shapes: dict[str, Any] = {}
        return SimpleNamespace(shapes=shapes, set_shape=lambda name, *three: shapes.update({name: three}))

    def build_serialized_network(self, network: Any, config: _Config) -> Any:
        told = {"flags": network.flags, "TF32": config.tf32, "timings": config.cache.data}
        self.module.built.append(told)
        config.cache.data += b"measured"
        raw = base64.b64encode(network.model.SerializeToString()).decode()
        return json.dumps({"model": raw, "profiles": [one.shapes for one in config.profiles]}).encode()


class _Config:
    def __init__(self) -> None:
        self.tf32, self.profiles, self.cache = True, [], SimpleNamespace(data=b"")  # type: ignore[var-annotated]

    def clear_flag(self, flag: str) -> None:
        assert flag == "TF32"
        self.tf32 = False

    def add_optimization_profile(self, profile: Any) -> None:
        self.profiles.append(profile)

    def create_timing_cache(self, data: bytes) -> Any:
        return SimpleNamespace(data=data)

    def set_timing_cache(self, cache: Any, ignore: bool) -> bool:
        assert not ignore
        if cache.data and not cache.data.startswith(b"measured"):
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return SimpleNamespace(serialize=lambda: self.cache.data)


class _Parser:
    def __init__(self, network: Any, log: Any) -> None:
        self.network, self.log, self.words = network, log, ""

    def parse_from_file(self, path: str) -> bool:
        try:
            model = onnx.load(path)
            onnx.checker.check_model(model)
        except Exception as error:  # noqa: BLE001  (whatever it is, the parser says no)
            self.words = str(error)
            return False
        inputs = [_end(value) for value in model.graph.input]
        self.network.model, self.network.num_inputs = model, len(inputs)
        self.network.get_input = inputs.__getitem__
        layer = SimpleNamespace(
            num_outputs=1, get_output=lambda _: SimpleNamespace(dtype=SimpleNamespace(name="FLOAT"))
        )
        self.network.num_layers, self.network.get_layer = len(model.graph.node), lambda _: layer
        return True

    @property
    def num_errors(self) -> int:
        return int(bool(self.words))

    def get_error(self, _: int) -> Any:
        return SimpleNamespace(node_operator=lambda: "", node_name=lambda: "", desc=lambda: self.words)


class _Runtime:
    def __init__(self, module: Any, log: Any) -> None:
        self.module, self.log = module, log

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        if not self.module.capable:
            self.log.log(_Severity.ERROR, "the engine cannot run on this GPU, which has compute capability 9.0.")
            return None
        try:
            return _Engine(self.module, json.loads(plan))
        except ValueError:
            self.log.log(_Severity.ERROR, "magic tag does not match")
            return None


class _Engine:
    def __init__(self, module: Any, plan: dict[str, Any]) -> None:
        self.module, self.profiles = module, plan["profiles"]
        raw = base64.b64decode(plan["model"])
        graph = onnx.load_from_string(raw).graph
        self.inputs = {value.name: _end(value) for value in graph.input}
        self.outputs = {value.name: _end(value) for value in graph.output}
        self.session = onnxruntime.InferenceSession(raw, providers=["CPUExecutionProvider"])
        self.ends = {**self.inputs, **self.outputs}
        self.num_io_tensors, self.num_optimization_profiles = len(self.ends), max(1, len(self.profiles))

    def get_tensor_name(self, index: int) -> str:
        return list(self.ends)[index]

    def get_tensor_mode(self, name: str) -> _Mode:
        return _Mode.INPUT if name in self.inputs else _Mode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return self.ends[name].dtype

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.ends[name].shape

    def get_tensor_profile_shape(self, name: str, profile: int) -> Any:
        return self.profiles[profile][name]

    def create_execution_context(self) -> _Context:
        return _Context(self)


class _Context:
    def __init__(self, engine: _Engine) -> None:
        self.engine, self.profile = engine, 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.begun: list[Any] = []  # callbacks must outlive their call

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        assert stream
        self.profile = profile
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if self.engine.profiles:
            least, _, most = self.engine.profiles[self.profile][name]
            fits = all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True))
        else:
            fits = tuple(shape) == self.engine.ends[name].shape
        if fits:
            self.shapes[name] = tuple(shape)
        return fits

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        batch = next(iter(self.shapes.values()))[0]
        return tuple(batch if size < 0 else size for size in self.engine.ends[name].shape)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        where = {name: self._array(name) for name in self.engine.ends}

        def compute(_: Any) -> None:
            found = self.engine.session.run(
                list(self.engine.outputs), {name: where[name] for name in self.engine.inputs}
            )
            for name, array in zip(self.engine.outputs, found, strict=True):
                where[name][...] = array

        self.begun = [*self.begun[-8:], CALL(compute)]
        self.engine.module.cuda.fake_enqueue(stream, self.begun[-1], None)
        return True

    def _array(self, name: str) -> Any:
        dtype, shape = DTYPES[self.engine.ends[name].dtype.name], self.get_tensor_shape(name)
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        raw = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(self.addresses[name]))
        return raw.view(dtype).reshape(shape)


def _end(value: Any) -> Any:
    kind = value.type.tensor_type
    shape = tuple(-1 if axis.dim_param else axis.dim_value for axis in kind.shape.dim)
    return SimpleNamespace(name=value.name, shape=shape, dtype=SimpleNamespace(name=NUMBERS[kind.elem_type]))
