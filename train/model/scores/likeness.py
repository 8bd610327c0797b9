"""Likeness: familiarity by direction instead of distance.

A new person or place shifts every clip further than any training clip, mostly in directions in which classes do not
differ, so by distance all such clips look unknown. Likeness is the cosine with the most similar class, within the
subspace in which the classes differ. Components outside of it count as ROOM additional dimensions, since the subspace
of a few classes is too small to look unknown in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from stpr.train.model.directions import unit

ROOM: Final = 4.0
UNIT: Final = 0.1  # of the cosine: its typical variation between clips of one class
FEWEST_CLASSES: Final = 3  # with two, which are opposite, every clip points at one of them
FLAT: Final = 1e-6  # relative to the largest eigenvalue: in such directions classes don't differ


class Likeness(nn.Module):
    """Whitened clips of each view, centred on the classes `(B, S)` -> `(B,)` in UNITs; derived, not stored."""

    def __init__(self, views: int) -> None:
        super().__init__()
        self.spans: Tensor
        self.register_buffer("spans", torch.zeros(views, 0, 0), persistent=False)

    def resize(self, classes: int) -> None:
        """Resize every tensor for `classes` classes, without setting values."""
        self.spans = self.spans.new_zeros(len(self.spans), classes, classes)

    def refresh(self, directions: Sequence[Tensor]) -> None:
        """Derive the subspace of the classes of each view from their directions `(C, S)`."""
        # Rounded as they are stored: they grow with the square of the classes, and every update brings them.
        self.spans = torch.stack([_spanned(rows.double()) for rows in directions]).half().float()

    def forward(self, moved: Sequence[Tensor], directions: Sequence[Tensor], shares: Tensor) -> Tensor:
        """Likeness to the most similar class; `shares` `(V,)` are the weights of the views."""
        rows = zip(moved, directions, self.spans, shares, strict=True)
        found = torch.stack([share * _cosines(part, known, span) for part, known, span, share in rows])
        return found.sum(dim=0).amax(dim=1) / UNIT


def likeness_to_other_classes(moved: Sequence[Tensor], places: Sequence[Tensor], shares: Tensor) -> Tensor:
    """Likeness of clips `(B, S)` to classes with means `places` `(C, S)`, none of which they belong to."""
    total = moved[0].new_zeros(())
    for part, means, share in zip(moved, places, shares, strict=True):
        middle = means.mean(dim=0)
        directions = unit(means - middle)
        total = total + share * _cosines(part - middle, directions, _spanned(directions))
    return total.amax(dim=1) / UNIT


def _spanned(directions: Tensor) -> Tensor:
    """The map `(C, C)` from cosines with unit vectors `(C, S)` to coordinates in the space they span; triangular."""
    values, axes = torch.linalg.eigh(directions @ directions.T)
    nonzero = values > FLAT * values.amax()
    spanned = axes * torch.where(nonzero, values.clamp_min(FLAT).rsqrt(), torch.zeros_like(values))
    found: Tensor = torch.linalg.qr(spanned.T, mode="r").R.T  # up to a rotation, which changes no length
    return found


def _cosines(moved: Tensor, directions: Tensor, spans: Tensor) -> Tensor:
    """Cosines `(B, C)` of clips `(B, S)` with the classes, within their subspace plus ROOM dimensions."""
    along = moved @ directions.T
    inside = (along @ spans).square().sum(dim=1, keepdim=True)
    classes, size = directions.shape
    outside = (moved.square().sum(dim=1, keepdim=True) - inside).clamp_min(0) * (ROOM / max(1, size - classes + 1))
    return along / (inside + outside).clamp_min(1e-12).sqrt()
