"""Halve the clips of each class, so that one half can be asked how it does with the other."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stpr.train.model.scores.samples import Samples


class Halves(NamedTuple):
    """The half of its class that each of `m` samples belongs to, and what is in the halves of C classes."""

    half: Tensor  # (m,) 0 or 1; all samples of a unit are in one half
    rows: Tensor  # (C, 2) samples, by their weights
    units: Tensor  # (C, 2) independent units


def halved_by_recording(samples: Samples, classes: int) -> Halves:
    """Halve as other people and places would: the first recordings of a class, and the others.

    Of a class with one recording, or of unknown recordings, the first clips and the others: neighbours are often of
    one person and place, whatever they are called.
    """
    units, recordings = samples.clips.clone(), samples.clips if samples.recordings is None else samples.recordings
    for label in range(classes):
        rows = samples.labels == label
        if len(torch.unique(recordings[rows])) > 1:
            units[rows] = recordings[rows]
    return _halved(samples, units, classes, in_turn=False)


def halved_by_clip(samples: Samples, classes: int) -> Halves:
    """Halve as the same people and places would: every other clip of a class."""
    return _halved(samples, samples.clips, classes, in_turn=True)


def _halved(samples: Samples, units: Tensor, classes: int, *, in_turn: bool) -> Halves:
    half, rows, counts = torch.zeros_like(samples.labels), torch.zeros(classes, 2), torch.zeros(classes, 2)
    weights = torch.ones(len(half), device=half.device) if samples.weights is None else samples.weights
    for label in range(classes):
        own = samples.labels == label
        _, order = torch.unique(units[own], return_inverse=True)
        half[own] = order % 2 if in_turn else (2 * order > order.max()).long()
        for part in (0, 1):
            chosen = own & (half == part)
            rows[label, part] = weights[chosen].sum()
            counts[label, part] = len(torch.unique(units[chosen]))
    return Halves(half, rows, counts)
