"""PyTorch's outputs for a clip, and how large the rounding error of its own float32 is."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stpr.runtime.contract.preprocess import Array
from stpr.train.model.stpr import StPR
from stpr.train.model.threads import one_thread


@dataclass(frozen=True, slots=True)
class Answers:
    """Outputs of every part for a batch of clips, as numpy arrays."""

    features: Array  # (B, T, D)
    outputs: Array  # (B, E, D)
    logits: Array  # (B, C)
    routing: Array  # (B, E)
    familiarity: Array  # (B,)
    evidence: Array  # (B, C); (B, 0) where the head tells no events


@torch.no_grad()
def answers(model: StPR, pixels: Array) -> Answers:
    """PyTorch's float32 on pixels of clips `(B, T, *shape)` uint8."""
    return _head(model, model.encoder(torch.from_numpy(pixels)))


class Reference:
    """A model in float32, and the same in float64 to measure the first one's rounding."""

    def __init__(self, model: StPR) -> None:
        self.single = model.eval()
        self.double = copy.deepcopy(model).double().eval()

    @property
    def clip_shape(self) -> tuple[int, ...]:
        """`(T, *shape)` of the pixels of clips that the model takes."""
        return self.single.head.frames, *self.single.encoder.pixels.shape

    def answers(self, frames: Array) -> Answers:
        """Everything in float32."""
        return answers(self.single, frames)

    @torch.no_grad()
    def head_exactly(self, features: Array) -> Answers:
        """The head in float64 on float32 features `(B, T, D)`."""
        return _head(self.double, torch.from_numpy(features).double())

    @torch.no_grad()
    def head_one_by_one(self, features: Array) -> Answers:
        """The head in float32, each clip's features as a batch of its own."""
        rows = [_head(self.single, torch.from_numpy(features[index : index + 1])) for index in range(len(features))]
        return join(rows)

    @torch.no_grad()
    @one_thread()
    def all_exactly(self, frames: Array) -> Answers:
        """Everything in float64; the pixels are divided by 255 in float32, as the model does."""
        return _head(self.double, self.double.encoder(torch.from_numpy(frames)))

    def one_by_one(self, frames: Array) -> Answers:
        """Everything in float32, each clip as a batch of its own."""
        return join([self.answers(frames[index : index + 1]) for index in range(len(frames))])


def join(batches: Sequence[Answers]) -> Answers:
    """The answers for several batches as those for one."""
    return Answers(*(np.concatenate([getattr(one, name) for one in batches]) for name in Answers.__slots__))


@one_thread()  # unlike the encoder, it costs next to nothing, and is what rounds otherwise on several
def _head(model: StPR, features: Tensor) -> Answers:
    outputs, combiner = model.head.ask(features), model.head.combiner
    logits, routing = combiner(features, outputs)
    familiarity = combiner.familiarity(features, logits)
    evidence = combiner.evidence(features) if combiner.gives_evidence else features[:, 0, :0]
    return Answers(*(tensor.numpy() for tensor in (features, outputs, logits, routing, familiarity, evidence)))
