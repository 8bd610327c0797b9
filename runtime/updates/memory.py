"""Check whether there is enough memory for a second model."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from stpr.runtime.contract.bundle import Bundle
from stpr.runtime.contract.errors import BundleError

# An engine holds the weights as read, as tensors and packed for its kernels; the golden clip runs in all graphs.
TIMES: Final = 4
ROOM: Final = 64_000_000  # bytes independent of the size of the weights
MEMINFO: Final = Path("/proc/meminfo")
LIMIT, USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


def check_memory(bundle: Bundle) -> None:
    """Raise BundleError unless there is memory for the bundle's model beside the running one."""
    needed = TIMES * sum(entry.bytes for entry in bundle.manifest.files.values()) + ROOM
    free = free_memory()
    if free is not None and free < needed:
        raise BundleError(
            f"{bundle.path} needs about {needed / 1e6:.0f} MB beside the running bundle, and {free / 1e6:.0f} MB are"
            " free; free some, or stop and start with it."
        )


def free_memory() -> int | None:
    """Free bytes without swapping, of the machine or the container's limit; None if unknown."""
    known = [found for found in (_of_machine(), _of_container()) if found is not None]
    return min(known, default=None)


def _of_machine() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        lines = MEMINFO.read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    return None


def _of_container() -> int | None:
    with suppress(OSError, ValueError):  # "max" means no limit
        return int(LIMIT.read_text()) - int(USED.read_text())
    return None
