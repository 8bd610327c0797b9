"""Compute from the settings alone what a run stores after each stage and what a prediction costs.

The real modules are built on torch's meta device, where tensors have shapes but no values, and their state is
measured. Nothing here takes the number of training clips as an argument, so no tensor that is explained here can
depend on it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from stpr.train.methods import method_of
from stpr.train.model.encoder import FrameEncoder
from stpr.train.model.head import Head
from stpr.train.model.scores.statistics import ClipStatistics
from stpr.train.model.stpr import StPR
from stpr.train.run.checkpoint import UNKNOWN_KIND, kept_state, kind_of
from stpr.train.run.events import GROUPS
from stpr.train.settings.automatic import resolve
from stpr.train.settings.recipe import Recipe

DEPENDS = {  # what the size of each kind of tensor depends on; letters as in `stpr.train.model`
    "projection": "W x D: the frozen network and [backbone] projection",
    "axes of channels": "C x K per hidden state of [backbone] correlations: its channels and [backbone] axes",
    "adapter": "the frozen network and [adapter]",
    "expert": 'T, D and [expert]; one per stage with method = "stpr", else one',
    "anchors": "C x D: a row per class",
    "keys": "C x D: a row per class",
    "class vectors": "C x D: a row per class",
    "trust in experts": "a number per stage",
    "temperature": "two numbers",
    "class statistics": "a row of S per class, and S x S; S by T, D and [statistics], or [ranpac] projection; with"
    f" [data] background {GROUPS} rows of S more",
    "memory": 'C x D: a row per class; with method = "ewc" a number per trained parameter',
    UNKNOWN_KIND: "unknown",
}


@dataclass(frozen=True, slots=True)
class StageSize:
    """Expected size after a stage: shapes and bytes of all stored tensors, and FLOPs of the head per clip."""

    stage: int
    shapes: dict[str, tuple[int, ...]]
    bytes: dict[str, int]
    flops: int


def sum_by_kind(bytes_of: dict[str, int]) -> dict[str, int]:
    """Sum the bytes of named tensors per kind."""
    kinds = {kind: [size for name, size in bytes_of.items() if kind_of(name) == kind] for kind in DEPENDS}
    return {kind: sum(sizes) for kind, sizes in kinds.items() if sizes}


def stage_sizes(encoder: FrameEncoder, recipe: Recipe, classes: Sequence[int]) -> Iterator[StageSize]:
    """Yield the size after each stage, given the number of new classes per stage.

    FLOPs count two per multiply-add of matrix products, by torch on the real modules; element-wise operations are
    not counted.
    """
    method = method_of(recipe)
    recipe, _ = resolve(recipe, encoder.backbone.traits)
    with torch.device("meta"):
        model = StPR(encoder=encoder, head=method.head(recipe, encoder.columns).eval(), memory=method.memory(recipe))
    for stage, count in enumerate(classes, start=1):
        with torch.device("meta"):
            method.grow(model, count)
            _make_room(model, recipe)
            flops = head_flops(model.head).all
        state = kept_state(model)
        yield StageSize(
            stage=stage,
            shapes={name: tuple(value.shape) for name, value in state.items()},
            bytes={name: value.nbytes for name, value in state.items()},
            flops=flops,
        )


def _make_room(model: StPR, recipe: Recipe) -> None:
    """Make room for what evidence has from stage 1 on; the number of background means depends on no video."""
    statistics = model.head.combiner.statistics
    if isinstance(statistics, ClipStatistics) and (wholeness := statistics.wholeness):
        wholeness.doubt = torch.zeros(1)
        if recipe.data.background:
            wholeness.background = torch.zeros(GROUPS, statistics.size)


def checkpoint_bytes(recipe: Recipe, encoder: FrameEncoder, classes: Sequence[Sequence[str]]) -> list[int]:
    """Exact bytes of the tensors in each stage's checkpoint, computed from shapes; `classes` lists each stage's."""
    sizes = stage_sizes(encoder, recipe, [len(names) for names in classes])
    return [sum(size.bytes.values()) for size in sizes]


@dataclass(frozen=True, slots=True)
class HeadFlops:
    """FLOPs of a head per clip: of each expert (all have the same form) and of the combiner."""

    experts: int
    expert: int  # 0 without experts
    combiner: int

    @property
    def all(self) -> int:
        """All experts and the combiner."""
        return self.experts * self.expert + self.combiner


def head_flops(head: Head) -> HeadFlops:
    """Count the FLOPs of each part of a head."""
    columns, experts = head.columns, len(head.experts)
    clips = torch.zeros(2, head.frames, columns.width)
    outputs = torch.zeros(2, experts, columns.appearance)
    one, two = (flops_of(head.combiner, clips[:count], outputs[:count]) for count in (1, 2))
    expert = flops_of(head.experts[0], columns.appearance_of(clips[:1])) if experts else 0
    # What is the same for all clips, such as the directions of the classes, engines compute when they load the graph.
    return HeadFlops(experts=experts, expert=expert, combiner=two - one)


@torch.no_grad()
def flops_of(module: nn.Module, *inputs: torch.Tensor) -> int:
    """FLOPs of one forward call, counted on a meta-device copy: fused attention on real tensors would be missed."""
    held: list[torch.Tensor] = [*module.parameters(), *module.buffers()]
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        _without_values(module, held)(*(given.to("meta") for given in inputs))
    total: int = counter.get_total_flops()
    return total


def _without_values(module: nn.Module, held: Sequence[torch.Tensor]) -> nn.Module:
    """A copy on the meta device: shapes only, no memory."""
    shapes: dict[int, Any] = {}
    for value in held:
        empty = torch.empty_like(value, device="meta")
        shapes[id(value)] = nn.Parameter(empty, False) if isinstance(value, nn.Parameter) else empty
    return copy.deepcopy(module, shapes)
