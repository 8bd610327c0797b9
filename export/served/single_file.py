"""Each graph as one file with its weights inside, for consumers that can't read weights beside a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from stpr.export.served.fixed import read_graph
from stpr.runtime.contract.bundle import Bundle
from stpr.runtime.contract.errors import BundleError

LARGEST: Final = 2**31 - 1  # bytes that protobuf holds in one message


def write(bundle: Bundle, folder: Path, batch: int | None) -> None:
    """`encoder.onnx`, `head.onnx`, `clip.onnx`. Raises BundleError for a graph that one file can't hold."""
    for name in bundle.manifest.graphs:
        model = read_graph(bundle.graph(name), batch, weights=True)
        if model.ByteSize() > LARGEST:
            raise BundleError(
                f"{name}.onnx would have {model.ByteSize() / 1e9:.1f} GB in one file, and an ONNX file holds 2 at most;"
                " serve the bundle's own files, whose weights lie beside the graph."
            )
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
