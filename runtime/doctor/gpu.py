"""Check NVIDIA's driver and TensorRT."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from stpr.runtime.doctor.finding import Finding, broken, note, ok

DRIVER: Final = "libcuda.so.1"
NO_DEVICE: Final = 100  # CUDA_ERROR_NO_DEVICE


def check_cuda(root: Path) -> Iterator[Finding]:
    """Check through the driver's API whether it finds a GPU, since a Jetson has no nvidia-smi."""
    devices = [*(root / "dev").glob("nvidia[0-9]*"), *(root / "dev").glob("nvhost-gpu")]
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        if devices:
            yield broken(
                "cuda",
                f"{devices[0]} exists, but {DRIVER} is missing",
                "install the driver, or give the container the GPU (--gpus all, on a Jetson --runtime nvidia)",
            )
        else:
            yield ok("cuda", "no NVIDIA GPU here; the CPU engine needs none")
        return
    version, count = ctypes.c_int(), ctypes.c_int()
    if (code := driver.cuInit(0)) not in (0, NO_DEVICE):
        yield broken(
            "cuda",
            f"the driver does not start (error {code})",
            "restart the machine after a driver update; in a container, its driver libraries must be the host's",
        )
        return
    driver.cuDriverGetVersion(ctypes.byref(version))
    driver.cuDeviceGetCount(ctypes.byref(count))
    if not count.value:
        yield note(
            "cuda",
            "a driver, but no GPU that this process may use",
            "check CUDA_VISIBLE_DEVICES, and the permissions of /dev/nvidia*",
        )
    name = ctypes.create_string_buffer(100)
    for number in range(count.value):
        driver.cuDeviceGetName(name, 100, number)
        yield ok("cuda", f"{name.value.decode()}, driver for CUDA {version.value // 1000}.{version.value % 1000 // 10}")


def check_tensorrt(root: Path) -> Iterator[Finding]:
    """Check whether Python can import it; JetPack's is outside virtual environments."""
    for module in ("tensorrt", "tensorrt_rtx"):
        try:
            found = importlib.import_module(module)
        except (ImportError, OSError):
            continue
        yield ok("tensorrt", f"{module} {found.__version__}; engines are built on this machine and are not portable")
        return
    if outside := sorted(root.glob("usr/lib/python3*/dist-packages/tensorrt")):
        yield note(
            "tensorrt",
            f"in {outside[0]}, outside this Python's path",
            "create the environment with --system-site-packages",
        )
    else:
        yield ok("tensorrt", "not installed; only engines of `stpr-export --format tensorrt` need it")
