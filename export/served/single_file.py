"""Write each graph as one file with embedded weights, for consumers that can't read external data."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from stpr.export.served.fixed import read_graph
from stpr.runtime.contract.bundle import Bundle
from stpr.runtime.contract.errors import BundleError

LARGEST: Final = 2**31 - 1  # bytes, the limit of a protobuf message


def write(bundle: Bundle, folder: Path, batch: int | None) -> None:
    """Write `encoder.onnx`, `head.onnx`, `clip.onnx`. Raises BundleError for a graph too large for one file."""
    for name in bundle.manifest.graphs:
        model = read_graph(bundle.graph(name), batch, weights=True)
        if model.ByteSize() > LARGEST:
            raise BundleError(
                f"{name}.onnx would have {model.ByteSize() / 1e9:.1f} GB in one file, and the limit of ONNX is 2;"
                " serve the bundle's own files, whose weights are beside the graph."
            )
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
