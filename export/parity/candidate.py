"""The exported files of one precision, opened with the device's engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Final

import onnx
from onnx import ValueInfoProto

from stpr.export.graphs.assemble import expert_output
from stpr.runtime.contract.manifest import GraphName, Precision
from stpr.runtime.contract.preprocess import Array
from stpr.runtime.engines import open_engine
from stpr.runtime.engines.engine import Engine
from stpr.train.data.pixels import PixelSpec

ENGINE: Final = "onnxruntime"
PROBE: Final = "probe.onnx"


@dataclass(frozen=True, slots=True)
class Candidate:
    """The three graphs, and a copy of the head with each expert's output exposed."""

    precision: Precision
    engines: Mapping[GraphName, Engine]
    pixels: PixelSpec
    probe: Engine
    experts: tuple[str, ...]  # names of their outputs inside the head
    graphs: Mapping[GraphName, Path]  # the files

    @property
    def engine(self) -> str:
        """The name of the engine that runs the graphs."""
        return self.engines[GraphName.CLIP].name

    def encode(self, pixels: Array) -> Array:
        """Encode pixels of clips `(B, T, *shape)` uint8: features `(B, T, D)`."""
        clips, length = pixels.shape[:2]
        feeds = self.feeds(pixels.reshape(clips * length, *pixels.shape[2:]))
        return self.engines[GraphName.ENCODER].run(feeds)["features"].reshape(clips, length, -1)

    def head(self, features: Array) -> dict[str, Array]:
        """Run the head on features `(B, T, D)`: logits, routing, familiarity and, if present, evidence."""
        return self.engines[GraphName.HEAD].run({"features": features})

    def clip(self, pixels: Array) -> dict[str, Array]:
        """Run the clip graph; outputs as of `head`."""
        return self.engines[GraphName.CLIP].run(self.feeds(pixels))

    def feeds(self, pixels: Array) -> dict[str, Array]:
        """Split pixels into a graph's inputs: frames and, with motion, greys."""
        frames, greys = self.pixels.split(pixels)
        return {"frames": frames} if greys is None else {"frames": frames, "greys": greys}

    def each_expert(self, features: Array) -> list[Array]:
        """The output of every expert inside the head: `(B, D)` each."""
        found = self.probe.run({"features": features})
        return [found[name] for name in self.experts]


@contextmanager
def open_candidate(
    folder: Path, files: Mapping[GraphName, str], pixels: PixelSpec, precision: Precision
) -> Iterator[Candidate]:
    """Open the graphs `files` of one precision in `folder`; raises EngineError if the engine can't open one."""
    probe = folder / PROBE
    with ExitStack() as opened:
        opened.callback(probe.unlink, missing_ok=True)
        experts = _write_probe(folder / files[GraphName.HEAD], probe)

        def start(graph: Path) -> Engine:
            engine = open_engine(ENGINE, graph)
            opened.callback(engine.close)
            return engine

        graphs = {name: folder / file for name, file in files.items()}
        engines = {name: start(graph) for name, graph in graphs.items()}
        yield Candidate(precision, engines, pixels, start(probe), experts, graphs)


def _write_probe(head: Path, probe: Path) -> tuple[str, ...]:
    """Write a copy of the head with each expert's output as a graph output; returns their names, by stage."""
    graph = onnx.load(str(head), load_external_data=False)
    inside = {name for node in graph.graph.node for name in node.output}
    experts = tuple(takewhile(inside.__contains__, map(expert_output, count(1))))
    for name in experts:
        graph.graph.output.append(ValueInfoProto(name=name))  # the engine infers its type
    probe.write_bytes(graph.SerializeToString())
    return experts
