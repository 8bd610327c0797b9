"""`--format tensorrt`: the engines of a bundle, built on this machine ahead of the first run."""

from __future__ import annotations

from pathlib import Path

from stpr.export.package.request import Steps
from stpr.runtime.contract.bundle import open_bundle
from stpr.runtime.engines import open_engine
from stpr.runtime.engines.tensorrt import check_here

__all__ = ["build_engines", "check_here"]


def build_engines(bundle: Path, step: Steps) -> None:
    """Have each graph's TensorRT engine built and kept, as `--engine tensorrt` does when it is first asked for."""
    opened = open_bundle(bundle)
    for name in opened.manifest.graphs:
        with step(f"build a TensorRT engine of {name}.onnx"):
            open_engine("tensorrt", opened.graph(name)).close()
