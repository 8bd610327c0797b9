"""How the model is divided into graphs, and the inputs and outputs of each.

encoder.onnx   frames (N,H,W,3), greys (N,K,2,s,s) uint8 ─▶ features (N,D)
head.onnx      features (B,T,D) ─┬─▶ expert 1 … expert E ─▶ outputs (B,E,D) ─┐
                                 └────────────────────────────────▶ combine ─┴─▶ logits (B,C), routing (B,E),
                                                                                     familiarity (B,), evidence (B,C)
clip.onnx      frames (B,T,H,W,3), greys (B,T,K,2,s,s) uint8 ─▶ encoder ─▶ features (B,T,D) ─▶ head ─▶ the same

Greys are pairs of small pictures, only for models with motion. Experts read the first columns of the features, the
appearance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn

from stpr.runtime.contract.errors import BundleError
from stpr.runtime.contract.manifest import GraphName, GraphSpec, TensorSpec
from stpr.train.data.pixels import PixelSpec
from stpr.train.model.combiners.combiner import Combiner
from stpr.train.model.stpr import StPR

BATCH = "batch"
FILES: Final[Mapping[GraphName, str]] = {name: f"{name}.onnx" for name in GraphName}  # of the traced graphs
DECISION = ("logits", "routing", "familiarity", "evidence")  # outputs of the head and the clip graph; see `decided`


@dataclass(frozen=True, slots=True)
class Piece:
    """A module to trace, with an example of each input (first axis: batch) and the names of its outputs."""

    name: str
    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]


class Combine(nn.Module):
    """A head without its experts: features `(B, T, D)` and experts' outputs `(B, E, D)` -> DECISION."""

    def __init__(self, combiner: Combiner) -> None:
        super().__init__()
        self.head = combiner
        self.gives_evidence = combiner.gives_evidence  # evaluated here, since tracing can't depend on values

    def forward(self, features: Tensor, outputs: Tensor | None = None) -> tuple[Tensor, ...]:
        """Logits `(B, C)`, routing `(B, E)`, familiarity `(B,)` and, if the head has it, evidence `(B, C)`.

        `outputs` is None without experts.
        """
        clips = self.head.read(features)
        logits, routing = self.head.combine(clips, features[:, :0] if outputs is None else outputs)
        decision = (logits, routing, self.head.familiarity(clips, logits))
        return (*decision, self.head.evidence(clips)) if self.gives_evidence else decision


def decided(model: StPR) -> tuple[str, ...]:
    """The outputs in DECISION that a model has; evidence only if its statistics support events."""
    return DECISION if model.head.combiner.gives_evidence else DECISION[:-1]


def encoder_piece(model: StPR) -> Piece:
    """The frame encoder, including normalisation; raises BundleError if the head needs unadapted features."""
    if model.reads_unadapted:
        raise BundleError(
            "this run's [router] kind needs frame features without adapters, but a bundle only has the adapted"
            ' ones: export a run with kind = "adapter_key", or with [adapter] place = "none".'
        )
    pixels = model.encoder.pixels
    inputs = {"frames": torch.zeros(2, *pixels.picture_shape, dtype=torch.uint8)}
    if pixels.motion:
        inputs["greys"] = torch.zeros(2, *pixels.greys_shape, dtype=torch.uint8)
    return Piece("encoder", model.encoder, inputs, ("features",))


def expert_piece(model: StPR) -> Piece | None:
    """The first expert, traced for all; None for a head without experts."""
    head = model.head
    if not len(head.experts):
        return None
    features = torch.zeros(2, head.frames, head.columns.appearance)
    return Piece("expert", head.experts[0], {"features": features}, ("output",))


def combine_piece(model: StPR) -> Piece:
    """The combiner."""
    head = model.head
    inputs = {"features": torch.zeros(2, head.frames, head.columns.width)}
    if len(head.experts):
        inputs["outputs"] = torch.zeros(2, len(head.experts), head.columns.appearance)
    return Piece("combine", Combine(head.combiner).eval(), inputs, decided(model))


def graph_specs(model: StPR) -> dict[GraphName, GraphSpec]:
    """Inputs and outputs of the three graphs, without files; B and N are the dynamic axis "batch"."""
    head, width = model.head, model.head.columns.width
    features = _tensor("features", "float32", head.frames, width)
    shapes = {
        "logits": (head.classes,),
        "routing": (head.combiner.membership.shape[1],),
        "familiarity": (),
        "evidence": (head.classes,),
    }
    decision = tuple(_tensor(name, "float32", *shapes[name]) for name in decided(model))
    pixels = model.encoder.pixels
    ends: dict[GraphName, tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]] = {
        GraphName.ENCODER: (_seen(pixels), (_tensor("features", "float32", width),)),
        GraphName.HEAD: ((features,), decision),
        GraphName.CLIP: (_seen(pixels, head.frames), decision),
    }
    return {name: GraphSpec(inputs=taken, outputs=given, variants={}) for name, (taken, given) in ends.items()}


def _seen(pixels: PixelSpec, *lead: int) -> tuple[TensorSpec, ...]:
    frames = _tensor("frames", "uint8", *lead, *pixels.picture_shape)
    return (frames, _tensor("greys", "uint8", *lead, *pixels.greys_shape)) if pixels.motion else (frames,)


def _tensor(name: str, dtype: Literal["uint8", "float32"], *shape: int) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=(BATCH, *shape))
