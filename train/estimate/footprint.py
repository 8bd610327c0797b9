"""What a recipe must keep after each stage and what a prediction must cost, told from its settings alone.

The real modules are built and their state is measured. How many training clips
there were is no argument of anything here: a tensor whose shape is explained here can't depend on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from stpr.train.model.encoder import FrameEncoder
from stpr.train.model.experts import Expert
from stpr.train.model.stpr import Head, StPR
from stpr.train.run.checkpoint import UNKNOWN_KIND, is_kept, kind_of
from stpr.train.settings.recipe import Recipe

DEPENDS = {  # on what the size of each kind of tensor depends; the letters are those of `stpr.train.model`
    "projection": "W x D: the frozen network and [backbone] projection",
    "adapter": "the frozen network and [adapter]",
    "expert": 'T, D and [expert]; one per stage with method = "stpr", else one',
    "anchors": "C x D: a row per class",
    "keys": "C x D: a row per class",
    "class vectors": "C x D: a row per class",
    "class statistics": "a row of S per class, and S x S; S by T, D and [statistics], or [ranpac] projection",
    "importance": 'C x D: a row per class; with method = "ewc" a number per trained parameter',
    UNKNOWN_KIND: "nothing that is known here",
}


@dataclass(frozen=True, slots=True)
class StageSize:
    """What there must be after a stage: shapes and bytes of all kept tensors, and FLOPs of the head for one clip."""

    stage: int
    shapes: dict[str, tuple[int, ...]]
    bytes: dict[str, int]
    flops: int


def sum_by_kind(bytes_of: dict[str, int]) -> dict[str, int]:
    """Bytes of named tensors, added up by kind."""
    kinds = {kind: [size for name, size in bytes_of.items() if kind_of(name) == kind] for kind in DEPENDS}
    return {kind: sum(sizes) for kind, sizes in kinds.items() if sizes}


def stage_sizes(encoder: FrameEncoder, recipe: Recipe, classes: Sequence[int]) -> Iterator[StageSize]:
    """The size after each stage, given how many classes each one brings.

    FLOPs are two per multiply-add of matrix products, counted by torch on the real modules; what goes through
    element by element is not counted.
    """
    head = Head(frames=recipe.sampling.frames, width=encoder.width, settings=recipe.head).eval()
    model = StPR(encoder=encoder, head=head)
    expert, per_expert = _expert(head)
    clip, trained = torch.zeros(1, head.frames, head.width), sum(value.numel() for value in expert.values())
    for stage, count in enumerate(classes, start=1):
        if recipe.expert_per_stage or stage == 1:
            head.experts.append(nn.Identity())  # stands for an expert: its size is known, and fifty take long to make
        head.add_classes(torch.zeros(count, head.width))
        _make_room(model, recipe, trained)
        state = {name: value for name, value in model.state_dict().items() if is_kept(name) and value.numel() > 0}
        state |= {f"head.experts.{place}.{name}": expert[name] for place in range(len(head.experts)) for name in expert}
        combining = flops_of(_Combine(head), clip, torch.zeros(1, len(head.experts), head.width))
        yield StageSize(
            stage=stage,
            shapes={name: tuple(value.shape) for name, value in state.items()},
            bytes={name: value.nbytes for name, value in state.items()},
            flops=len(head.experts) * per_expert + combining,
        )


def _expert(head: Head) -> tuple[dict[str, Tensor], int]:
    """The tensors of an expert, without values, and what it costs for one clip: the same for all experts."""
    with torch.device("meta"):  # where torch takes attention apart into the products that are counted
        expert = Expert(head.frames, head.width, head.settings.expert).eval()
        return expert.state_dict(), flops_of(expert, torch.zeros(1, head.frames, head.width))


@torch.no_grad()
def flops_of(module: nn.Module, *inputs: Tensor) -> int:
    """FLOPs of one forward call."""
    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    total: int = counter.get_total_flops()
    return total


class _Combine(nn.Module):
    """A head without its experts."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor, outputs: Tensor) -> Tensor:
        return self.head.combine(features, outputs)[0]


def _make_room(model: StPR, recipe: Recipe, trained: int) -> None:
    """Give what is filled only in learning the size it then has: rows for all classes, and EWC's Fisher."""
    head, statistics = model.head, model.head.statistics
    classes = len(head.class_vectors)
    if statistics is not None:
        statistics.make_room(classes)
        lifted = statistics.lift(torch.zeros(1, statistics.size)).shape[1]
        statistics.centre, statistics.bias = torch.zeros(lifted), torch.zeros(classes)
        statistics.weight = torch.zeros(classes, lifted)
    if recipe.method == "ewc":
        adapters = sum(value.numel() for value in model.encoder.adapter_parameters())
        model.importance = torch.zeros(adapters + trained)
    elif recipe.method in ("stpr", "spatial") and recipe.preservation.classes == "old":
        model.importance = torch.zeros(classes, head.width)
