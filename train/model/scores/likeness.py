"""How much like a known class a clip looks: familiarity that asks where a clip points, and not how far it is.

A person or place never filmed moves every clip further than any that was learnt, mostly in directions in which classes
do not differ; a distance calls all of that strange. Likeness is the cosine with the likeliest class among the
directions in which the classes differ. What lies outside of them counts as if it were ROOM more directions: few classes
span too little to be strange in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from stpr.train.model.directions import unit

ROOM: Final = 4.0
UNIT: Final = 0.1  # of the cosine: about how much it differs between the clips of one class
FEWEST_CLASSES: Final = 3  # two lie opposite each other, and every clip points at one of them
FLAT: Final = 1e-6  # of the largest: in such directions classes don't differ


class Likeness(nn.Module):
    """Whitened clips of each view, from the middle of the classes `(B, S)` -> `(B,)` in UNITs; derived."""

    def __init__(self, views: int) -> None:
        super().__init__()
        self.spans: Tensor
        self.register_buffer("spans", torch.zeros(views, 0, 0), persistent=False)

    def resize(self, classes: int) -> None:
        """Give every tensor the size that it has for so many classes, and no values."""
        self.spans = self.spans.new_zeros(len(self.spans), classes, classes)

    def refresh(self, directions: Sequence[Tensor]) -> None:
        """Derive what the classes of each view span, from where they point `(C, S)`."""
        self.spans = torch.stack([_spanned(rows.double()) for rows in directions]).float()

    def forward(self, moved: Sequence[Tensor], directions: Sequence[Tensor], shares: Tensor) -> Tensor:
        """How much clips look like the likeliest class; `shares` `(V,)` is how much each view counts."""
        rows = zip(moved, directions, self.spans, shares, strict=True)
        found = torch.stack([share * _cosines(part, known, span) for part, known, span, share in rows])
        return found.sum(dim=0).amax(dim=1) / UNIT


def likeness_of_strangers(moved: Sequence[Tensor], places: Sequence[Tensor], shares: Tensor) -> Tensor:
    """Likeness of clips `(B, S)` to classes whose means lie at `places` `(C, S)` and that they do not belong to."""
    total = moved[0].new_zeros(())
    for part, means, share in zip(moved, places, shares, strict=True):
        middle = means.mean(dim=0)
        directions = unit(means - middle)
        total = total + share * _cosines(part - middle, directions, _spanned(directions))
    return total.amax(dim=1) / UNIT


def _spanned(directions: Tensor) -> Tensor:
    """What makes coordinates in the space that unit vectors `(C, S)` span of cosines with them: `(C, C)`."""
    values, axes = torch.linalg.eigh(directions @ directions.T)
    told = values > FLAT * values.amax()
    spanned: Tensor = axes * torch.where(told, values.clamp_min(FLAT).rsqrt(), torch.zeros_like(values))
    return spanned


def _cosines(moved: Tensor, directions: Tensor, spans: Tensor) -> Tensor:
    """Cosines `(B, C)` of clips `(B, S)` with the classes, within what these span and ROOM."""
    along = moved @ directions.T
    inside = (along @ spans).square().sum(dim=1, keepdim=True)
    classes, size = directions.shape
    outside = (moved.square().sum(dim=1, keepdim=True) - inside).clamp_min(0) * (ROOM / max(1, size - classes + 1))
    return along / (inside + outside).clamp_min(1e-12).sqrt()
