"""Write weights beside the graphs: raw little-endian tensors in files shared by several graphs (external data)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt
import torch
from onnx import StringStringEntryProto, TensorProto, helper
from torch import Tensor

from stpr.export.graphs.trace import Weight

ALIGNMENT: Final = 64  # bytes: one cache line, enough for any vector load
BACKBONE: Final = "weights/backbone.bin"  # the frozen network: identical at every stage
PROJECTION: Final = "weights/projection.bin"  # fitted in stage 1, identical from then on
STAGE: Final = "weights/stage.bin"  # weights that change at every stage
FEWEST: Final = 256  # numbers in a matrix for which a cast in the graphs is worth it
HALF: Final = "/half"  # suffix of the name of a float32 tensor that is stored in half precision


def expert_file(stage: int) -> str:
    """The file of one expert: written at its stage, identical at every later one."""
    return f"weights/expert-{stage}.bin"


def stored(weights: Sequence[Weight], tensors: Mapping[str, Tensor], prefix: str) -> Iterator[tuple[str, Tensor]]:
    """Yield each weight's name in the graphs and its stored values."""
    for weight in weights:
        yield f"{prefix}/{weight.stored_name}", weight.of(tensors)


def halved(weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Narrow matrices that half precision holds exactly, which graphs widen before use; `HALF` is in their names."""
    for name, tensor in weights:
        worth = tensor.dtype == torch.float32 and tensor.ndim > 1 and tensor.numel() >= FEWEST
        if worth and torch.equal(tensor, narrow := tensor.half()):
            yield name + HALF, narrow
        else:
            yield name, tensor


def write_weights(root: Path, location: str, weights: Iterable[tuple[str, Tensor]]) -> list[TensorProto]:
    """Write `root/location` in the order given; returns the graph entries (name, type, location) of the tensors."""
    return write_arrays(root, location, ((name, tensor.numpy()) for name, tensor in weights))


def write_arrays(root: Path, location: str, weights: Iterable[tuple[str, npt.NDArray[Any]]]) -> list[TensorProto]:
    """`write_weights` for numpy arrays."""
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
