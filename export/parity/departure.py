"""Find the first module in which a refused graph departs from PyTorch, for the gate's error message.

Compared are points that the graph and PyTorch share: stored weights, and outputs of modules with weights, which are the
outputs of the last node that reads one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from onnx import GraphProto, ModelProto, ValueInfoProto, numpy_helper
from torch import Tensor, nn

from stpr.export.graphs.trace import tensors_of
from stpr.export.graphs.weights import HALF
from stpr.runtime.contract.preprocess import Array
from stpr.runtime.engines import open_engine
from stpr.train.model.threads import one_thread

NEAR: Final = 1e-3  # relative to a module's largest value: above accumulated rounding, below the effect of an error
PROBE: Final = "departure.onnx"


@dataclass(frozen=True, slots=True)
class Part:
    """A module and its place in a graph, where names of its nodes and weights begin with `prefix/`."""

    graph: Path
    prefix: str
    module: nn.Module

    def own(self, name: str) -> str | None:
        """The module's name for a tensor of the graph, without the axes suffix; None if it is not part of it."""
        inside = name.removeprefix(f"{self.prefix}/")
        if inside == name:
            return None
        return inside if inside in tensors_of(self.module) else inside.rpartition(".")[0]


@torch.no_grad()
@one_thread()
def first_departure(part: Part, inputs: Sequence[Tensor], feeds: Mapping[str, Array]) -> str | None:
    """The first module whose output differs from PyTorch's, else a weight that differs; None if none does.

    `inputs` are the module's inputs, `feeds` the graph inputs that produce the same. Weights that a lower precision
    renamed are skipped.
    """
    model = onnx.load(str(part.graph), load_external_data=False)
    wanted = _outputs(part.module, inputs)
    ends = _ends(part, model.graph, wanted)
    found = _run(part.graph.with_name(PROBE), model, [*ends.values()], feeds)
    for name, tensor in ends.items():
        given, value = found[tensor].reshape(-1), wanted[name].reshape(-1)
        scale = float(np.abs(value).max())
        if given.size == value.size and not (off := float(np.abs(given - value).max())) <= NEAR * scale:
            return f"{name} (off by {off:.1e} of {scale:.1e})"
    return next(_other_weights(part), None)


def _outputs(module: nn.Module, inputs: Sequence[Tensor]) -> dict[str, Array]:
    """The outputs of leaf modules that are called once, by name."""
    given: dict[str, list[Array]] = {}

    def note(name: str) -> Any:
        def hook(_: nn.Module, __: object, output: object) -> None:
            if isinstance(output, Tensor):
                given.setdefault(name, []).append(output.cpu().numpy())

        return hook

    leaves = [(name, one) for name, one in module.named_modules() if name and not [*one.children()]]
    handles = [one.register_forward_hook(note(name)) for name, one in leaves]
    try:
        module(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return {name: outputs[0] for name, outputs in given.items() if len(outputs) == 1}


def _ends(part: Part, graph: GraphProto, modules: Mapping[str, Array]) -> dict[str, str]:
    """For each module, in graph order, the output of the last node that reads its weights."""
    ends: dict[str, str] = {}
    for node in graph.node:
        for name in node.input:
            owner = (part.own(name) or "").rpartition(".")[0]
            if owner in modules:
                ends[owner] = node.output[0]
    return ends


def _run(probe: Path, model: ModelProto, tensors: Sequence[str], feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Compute the values of tensors inside a graph."""
    known = {value.name for value in model.graph.output}
    model.graph.output.extend(ValueInfoProto(name=name) for name in tensors if name not in known)
    try:
        probe.write_bytes(model.SerializeToString())
        engine = open_engine("onnxruntime", probe)
        try:
            return engine.run(feeds)
        finally:
            engine.close()
    finally:
        probe.unlink(missing_ok=True)


def _other_weights(part: Part) -> Iterator[str]:
    """Yield weights in the files that differ from PyTorch's."""
    tensors = tensors_of(part.module)
    for stored in onnx.load(str(part.graph)).graph.initializer:
        label = stored.name.removesuffix(HALF)
        name = part.own(label)
        if name not in tensors:
            continue
        wanted = tensors[name].detach().cpu()
        axes = label.removeprefix(f"{part.prefix}/{name}").removeprefix(".")
        value = (wanted.permute([int(axis) for axis in axes]) if axes else wanted).numpy()
        given = numpy_helper.to_array(stored)
        if (label != stored.name or given.dtype == value.dtype) and not np.array_equal(given, value):
            yield f"the weight {name}"
