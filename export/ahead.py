"""`--format tensorrt`: build the TensorRT engines of a bundle before its first run on this machine."""

from __future__ import annotations

from pathlib import Path

from stpr.export.package.request import Steps
from stpr.runtime.contract.bundle import open_bundle
from stpr.runtime.engines import open_engine
from stpr.runtime.engines.tensorrt import check_here

__all__ = ["build_engines", "check_here"]


def build_engines(bundle: Path, step: Steps) -> None:
    """Build and cache each graph's TensorRT engine, as the first run with `--engine tensorrt` would."""
    opened = open_bundle(bundle)
    for name in opened.manifest.graphs:
        with step(f"build a TensorRT engine of {name}.onnx"):
            open_engine("tensorrt", opened.graph(name)).close()
