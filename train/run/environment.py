"""Describe versions, machine and command of a run."""

from __future__ import annotations

import platform
import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

import torch

from stpr.train.learning.distributed import Processes

PACKAGES: Final = ("stpr", "torch", "transformers", "accelerate", "numpy")


def environment(processes: Processes) -> dict[str, str]:
    """The content of `environment` in `metrics.json`."""
    cuda = processes.device.type == "cuda"
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name(processes.device) if cuda else processes.device.type,
        "processes": str(processes.count),
        "threads": str(torch.get_num_threads()),
        **{name: version(name) for name in PACKAGES},
    }
