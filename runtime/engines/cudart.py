"""Bindings (ctypes) for the dozen functions of CUDA's runtime library that an engine needs."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import suppress
from ctypes import byref, c_char_p, c_int, c_size_t, c_void_p
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np

from stpr.runtime.contract.errors import EngineError
from stpr.runtime.contract.preprocess import Array

NAMES: Final = ("libcudart.so", "libcudart.so.13", "libcudart.so.12", "/usr/local/cuda/lib64/libcudart.so")
WHEELS: Final = ("cu*/lib/libcudart.so*", "cuda_runtime/lib/libcudart.so*")  # under the folder `nvidia`
MAJOR, MINOR = 75, 76  # cudaDevAttrComputeCapabilityMajor and its minor
TO_DEVICE, TO_HOST = 1, 2  # cudaMemcpyKind
PROPERTIES: Final = 1 << 13  # bytes, more than cudaDeviceProp needs in any version; the name is its first field
GPU: Final = 0  # the device index in use; CUDA_VISIBLE_DEVICES selects another
FREED_BY: Final = {"cudaMalloc": "cudaFree", "cudaMallocHost": "cudaFreeHost", "cudaStreamCreate": "cudaStreamDestroy"}
TAKES: Final = {
    "cudaMalloc": (c_void_p, c_size_t),
    "cudaMallocHost": (c_void_p, c_size_t),
    "cudaFree": (c_void_p,),
    "cudaFreeHost": (c_void_p,),
    "cudaStreamCreate": (c_void_p,),
    "cudaStreamDestroy": (c_void_p,),
    "cudaStreamSynchronize": (c_void_p,),
    "cudaMemcpyAsync": (c_void_p, c_void_p, c_size_t, c_int, c_void_p),
    "cudaMemGetInfo": (c_void_p, c_void_p),
    "cudaGetDeviceCount": (c_void_p,),
    "cudaDeviceGetAttribute": (c_void_p, c_int, c_int),
    "cudaGetDeviceProperties": (c_void_p, c_int),
    "cudaRuntimeGetVersion": (c_void_p,),
    "cudaDriverGetVersion": (c_void_p,),
}


class CudaError(Exception):
    """A function of the library failed; with its error text and number."""


class Gpu:
    """An NVIDIA GPU with a stream and allocated memory; `close` releases everything."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Raises CudaError if there is no GPU that this library's version can use."""
        self._library = library
        self._held: dict[int, str] = {}  # address -> function that releases it
        library.cudaGetErrorString.restype = c_char_p
        for name, kinds in TAKES.items():
            getattr(library, name).argtypes = kinds
        if not self._number("cudaGetDeviceCount"):
            raise CudaError("no CUDA-capable device is detected")
        self.stream = self._new("cudaStreamCreate")

    @property
    def name(self) -> str:
        """The product name."""
        properties = ctypes.create_string_buffer(PROPERTIES)
        self._call("cudaGetDeviceProperties", properties, GPU)
        return properties.value.decode(errors="replace")

    @property
    def capability(self) -> str:
        """Its compute capability, such as "8.7"."""
        parts = [self._number("cudaDeviceGetAttribute", number, GPU) for number in (MAJOR, MINOR)]
        return ".".join(map(str, parts))

    @property
    def versions(self) -> str:
        """Versions of this library and the driver."""
        return "/".join(str(self._number(name)) for name in ("cudaRuntimeGetVersion", "cudaDriverGetVersion"))

    def free_bytes(self) -> int:
        """Free memory; on a Jetson that of the whole machine, without the file cache."""
        free, total = c_size_t(), c_size_t()
        self._call("cudaMemGetInfo", byref(free), byref(total))
        return free.value

    def allocate(self, size: int) -> int:
        """Allocate `size` bytes on the GPU, uninitialised; returns the address."""
        return self._new("cudaMalloc", max(1, size))

    def pinned(self, size: int) -> Array:
        """Allocate `size` bytes of pinned host memory for asynchronous copies, uninitialised.

        Invalid after `close`.
        """
        address = self._new("cudaMallocHost", max(1, size))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def upload(self, target: int, source: Array) -> None:
        """Start copying pinned bytes to the GPU; they must not change until `wait` returns."""
        self._call("cudaMemcpyAsync", target, source.ctypes.data, source.nbytes, TO_DEVICE, self.stream)

    def download(self, target: Array, source: int) -> None:
        """Start copying from the GPU into pinned bytes; complete when `wait` returns."""
        self._call("cudaMemcpyAsync", target.ctypes.data, source, target.nbytes, TO_HOST, self.stream)

    def wait(self) -> None:
        """Wait for all started operations. Raises CudaError if one failed."""
        self._call("cudaStreamSynchronize", self.stream)

    def close(self) -> None:
        """Wait, then release memory and stream; may be called twice."""
        if not self._held:
            return
        with suppress(CudaError):  # errors were raised before
            self.wait()
        for address, made_by in reversed(self._held.items()):
            with suppress(CudaError):
                self._call(FREED_BY[made_by], address)
        self._held.clear()

    def _new(self, function: str, *size: int) -> int:
        address = c_void_p()
        self._call(function, byref(address), *size)
        assert address.value is not None
        self._held[address.value] = function
        return address.value

    def _number(self, function: str, *arguments: int) -> int:
        found = c_int()
        self._call(function, byref(found), *arguments)
        return found.value

    def _call(self, function: str, *arguments: object) -> None:
        if code := getattr(self._library, function)(*arguments):
            words = self._library.cudaGetErrorString(code).decode(errors="replace")
            raise CudaError(f"{words} ({function}, error {code})")


def open_gpu() -> Gpu:
    """Open the first GPU, with the first library that can use it. Raises EngineError if there is none."""
    reasons: dict[str, str] = {}
    for place in places():
        try:
            return Gpu(ctypes.CDLL(place))
        except OSError:
            continue  # most candidates don't exist
        except CudaError as error:
            reasons.setdefault(str(error), place)
    if not reasons:
        raise EngineError(
            "no libcudart here, the runtime library of CUDA: a Jetson has it from JetPack, elsewhere"
            " `pip install nvidia-cuda-runtime`; or use --engine onnxruntime for the CPU."
        )
    attempts = "; ".join(f"{reason}, says {place}" for reason, place in reasons.items())
    raise EngineError(
        f"no NVIDIA GPU can be used here: {attempts}; install a driver that is new enough,"
        " or use --engine onnxruntime for the CPU."
    )


def places() -> Iterator[str]:
    """Candidate paths of the library: the system's first, then pip's."""
    yield from NAMES
    found = find_spec("nvidia")
    for folder in (found.submodule_search_locations or ()) if found else ():
        for pattern in WHEELS:
            yield from sorted(map(str, Path(folder).glob(pattern)), reverse=True)
