"""PyTorch's outputs for clips, in float32 and, to measure its rounding error, in float64."""

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
    evidence: Array  # (B, C); (B, 0) if the head has no evidence output


@torch.no_grad()
def answers(model: StPR, pixels: Array) -> Answers:
    """PyTorch's float32 outputs for pixels of clips `(B, T, *shape)` uint8."""
    return _head(model, model.encoder(torch.from_numpy(pixels)))


class Reference:
    """A model in float32, and a copy in float64."""

    def __init__(self, model: StPR) -> None:
        self.single = model.eval()
        self.double = copy.deepcopy(model).double().eval()

    @property
    def clip_shape(self) -> tuple[int, ...]:
        """The shape `(T, *shape)` of a clip's pixels."""
        return self.single.head.frames, *self.single.encoder.pixels.shape

    def answers(self, frames: Array) -> Answers:
        """All outputs in float32."""
        return answers(self.single, frames)

    @torch.no_grad()
    def head_exactly(self, features: Array) -> Answers:
        """The head in float64 on float32 features `(B, T, D)`."""
        return _head(self.double, torch.from_numpy(features).double())

    @torch.no_grad()
    def head_one_by_one(self, features: Array) -> Answers:
        """The head in float32, with batch size 1."""
        rows = [_head(self.single, torch.from_numpy(features[index : index + 1])) for index in range(len(features))]
        return join(rows)

    @torch.no_grad()
    @one_thread()
    def all_exactly(self, frames: Array) -> Answers:
        """All outputs in float64; pixels are divided by 255 in float32, as in the model."""
        return _head(self.double, self.double.encoder(torch.from_numpy(frames)))

    def one_by_one(self, frames: Array) -> Answers:
        """All outputs in float32, with batch size 1."""
        return join([self.answers(frames[index : index + 1]) for index in range(len(frames))])


def join(batches: Sequence[Answers]) -> Answers:
    """Concatenate the outputs of several batches."""
    return Answers(*(np.concatenate([getattr(one, name) for one in batches]) for name in Answers.__slots__))


@one_thread()  # the head is cheap, and its rounding would depend on the number of threads
def _head(model: StPR, features: Tensor) -> Answers:
    outputs, combiner = model.head.ask(features), model.head.combiner
    clips = combiner.read(features)
    logits, routing = combiner.combine(clips, outputs)
    familiarity = combiner.familiarity(clips, logits)
    evidence = combiner.evidence(clips) if combiner.gives_evidence else features[:, 0, :0]
    return Answers(*(tensor.numpy() for tensor in (features, outputs, logits, routing, familiarity, evidence)))
