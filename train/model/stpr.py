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
    """The outputs on test clips that metrics need."""

    logits: Tensor  # (B, C)
    routing: Tensor  # (B, E)
    oracle: Tensor  # (B, C) logits if only the expert of the clips' stage were used
    familiarity: Tensor  # (B,)


class Memory(nn.Module):
    """Buffers that a method stores between stages, besides the network; empty for most methods."""

    def resize(self, model: StPR) -> None:
        """Resize the buffers to fit the model, before a checkpoint is loaded."""


class StPR(nn.Module):
    """Encoder and head: clips `(B, T, H, W, 3)` uint8, or their frozen features, to logits and routing."""

    def __init__(self, *, encoder: FrameEncoder, head: Head, memory: Memory | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.memory = memory or Memory()

    @property
    def reads_unadapted(self) -> bool:
        """Whether the router needs frame features without adapters, and there are adapters."""
        return self.head.combiner.reads_unadapted and bool(self.encoder.adapter_parameters())

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `(B, C)` and routing `(B, E)`."""
        unadapted = self.encoder.unadapted(inputs) if self.reads_unadapted else None
        logits, routing = self.head(self.encoder(inputs), unadapted)
        return logits, routing

    def judge(self, inputs: Tensor, stage: int) -> Judgement:
        """Evaluate test clips of one stage in one pass through the encoder."""
        features = self.encoder(inputs)
        unadapted = self.encoder.unadapted(inputs) if self.reads_unadapted else None
        combiner, outputs = self.head.combiner, self.head.ask(features)
        clips = combiner.read(features)
        logits, routing = combiner.combine(clips, outputs, unadapted)
        right = torch.zeros_like(routing)
        right[:, min(stage, routing.shape[1]) - 1] = 1
        oracle, _ = combiner.combine(clips, outputs, unadapted, given=right)
        return Judgement(logits, routing, oracle, combiner.familiarity(clips, logits))
