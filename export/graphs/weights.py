"""Weights beside the graphs: raw little-endian tensors in files that several graphs share (ONNX external data)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt
from onnx import StringStringEntryProto, TensorProto, helper
from torch import Tensor

from stpr.export.graphs.trace import Weight

ALIGNMENT: Final = 64  # bytes; one cache line, and enough for any vector load
BACKBONE: Final = "weights/backbone.bin"  # the frozen network: the same bytes at every stage
PROJECTION: Final = "weights/projection.bin"  # fitted to stage 1, the same bytes from then on
STAGE: Final = "weights/stage.bin"  # what changes at every stage


def expert_file(stage: int) -> str:
    """The file of one expert: written at its stage, the same bytes at every later one."""
    return f"weights/expert-{stage}.bin"


def stored(weights: Sequence[Weight], tensors: Mapping[str, Tensor], prefix: str) -> Iterator[tuple[str, Tensor]]:
    """Each weight as it is stored: its name in the graphs and its values, one at a time."""
    for weight in weights:
        yield f"{prefix}/{weight.stored_name}", weight.of(tensors)


def write_weights(root: Path, location: str, weights: Iterable[tuple[str, Tensor]]) -> list[TensorProto]:
    """Write `root/location` in the order given; returns what a graph says of each tensor: its name, type and place."""
    return write_arrays(root, location, ((name, tensor.numpy()) for name, tensor in weights))


def write_arrays(root: Path, location: str, weights: Iterable[tuple[str, npt.NDArray[Any]]]) -> list[TensorProto]:
    """As `write_weights`, for numpy arrays."""
    file = root / location
    file.parent.mkdir(parents=True, exist_ok=True)
    entries = []
    with file.open("wb") as out:
        for name, array in weights:
            out.write(b"\0" * (-out.tell() % ALIGNMENT))
            entries.append(_entry(name, array, location, out.tell()))
            out.write(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return entries


def _entry(name: str, array: npt.NDArray[Any], location: str, offset: int) -> TensorProto:
    places = {"location": location, "offset": str(offset), "length": str(array.nbytes)}
    return TensorProto(
        name=name,
        data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
        dims=array.shape,
        data_location=TensorProto.EXTERNAL,
        external_data=[StringStringEntryProto(key=key, value=value) for key, value in places.items()],
    )
