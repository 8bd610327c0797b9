"""The interface of engines, which run a bundle's graphs on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from stpr.runtime.contract.errors import EngineError
from stpr.runtime.contract.manifest import GraphSpec, TensorSpec
from stpr.runtime.contract.preprocess import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Options for running a graph; engines ignore options that they don't support."""

    threads: int | None = None  # CPU threads per run; None: all cores


class Engine(Protocol):
    """Runs one graph of a bundle. Not thread-safe; close it when done."""

    @property
    def name(self) -> str:
        """The library and provider in use, as reported by the library: such as "onnxruntime CPUExecutionProvider"."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; returns all outputs by name."""

    def close(self) -> None:
        """Release the memory."""


def engine_name(encoder: str, head: str) -> str:
    """What runs a bundle: the engine of the encoder, nearly all of the work, and that of the head if it is another."""
    return encoder if head == encoder else f"{encoder}; head on {head}"


def check_feeds(spec: GraphSpec, feeds: Mapping[str, Array]) -> None:
    """Raise EngineError unless names, element types and fixed axes of the feeds match the graph's inputs."""
    expected = {tensor.name: tensor for tensor in spec.inputs}
    if feeds.keys() != expected.keys():
        raise EngineError(f"{spec.file} takes {sorted(expected)}, received {sorted(feeds)}.")
    for name, array in feeds.items():
        if not _fits(expected[name], array):
            raise EngineError(
                f"{spec.file} takes {name} {expected[name].dtype}{list(expected[name].shape)},"
                f" received {array.dtype}{list(array.shape)}."
            )


def _fits(tensor: TensorSpec, array: Array) -> bool:
    same_rank = array.ndim == len(tensor.shape)
    return (
        array.dtype.name == tensor.dtype
        and same_rank
        and all(isinstance(wanted, str) or wanted == got for wanted, got in zip(tensor.shape, array.shape, strict=True))
    )
