"""The whole network (method §2, §4).

frames ─▶ FrameEncoder ─▶ features ─┬─▶ mean over frames ──────────────── static ──┐
uint8                     (B,T,D)   ├─▶ expert 1 … expert E ─▶ outputs (B,E,D) ────┤ combiner
                                    └─▶ clip statistics ─▶ posterior (B,C) ──┐     ▼
                                                 temporal = outputs - static ─▶ router ─▶ fuse ─▶ cosine ─▶ logits
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from stpr.train.model.encoder import FrameEncoder
from stpr.train.model.head import Head


class Judgement(NamedTuple):
    """Everything that is measured on test clips."""

    logits: Tensor  # (B, C)
    routing: Tensor  # (B, E)
    oracle: Tensor  # (B, C) logits if a router always chose the expert of the clips' own stage, and it alone
    familiarity: Tensor  # (B,)


class Memory(nn.Module):
    """What a method keeps from stage to stage beside the network, as buffers; most keep nothing."""

    def resize(self, model: StPR) -> None:
        """Give every buffer the size that fits the model; a checkpoint's values are loaded into it next."""


class StPR(nn.Module):
    """Encoder and head together: clips `(B, T, H, W, 3)` uint8, or their frozen features, to logits and routing."""

    def __init__(self, *, encoder: FrameEncoder, head: Head, memory: Memory | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.memory = memory or Memory()

    @property
    def reads_unadapted(self) -> bool:
        """Whether the router looks at frame features as they would be without the adapters that there are."""
        return self.head.combiner.reads_unadapted and bool(self.encoder.adapter_parameters())

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `(B, C)` and routing `(B, E)`."""
        unadapted = self.encoder.unadapted(inputs) if self.reads_unadapted else None
        logits, routing = self.head(self.encoder(inputs), unadapted)
        return logits, routing

    def judge(self, inputs: Tensor, stage: int) -> Judgement:
        """Everything that is measured on test clips of one stage, from one pass through the encoder."""
        features = self.encoder(inputs)
        unadapted = self.encoder.unadapted(inputs) if self.reads_unadapted else None
        outputs = self.head.ask(features)
        logits, routing = self.head.combiner(features, outputs, unadapted)
        right = torch.zeros_like(routing)
        right[:, min(stage, routing.shape[1]) - 1] = 1
        oracle, _ = self.head.combiner(features, outputs, unadapted, given=right)
        return Judgement(logits, routing, oracle, self.head.combiner.familiarity(features, logits))
