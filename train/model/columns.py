"""The layout of a frame feature `(…, D)`: columns for appearance, inner layers of the backbone, and motion."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from stpr.train.model.motion import motion_width


@dataclass(frozen=True, slots=True)
class Columns:
    """The widths of the three groups, in this order. `pairs`: motion pairs per frame, 0 without motion."""

    appearance: int  # the paper's V^s: adapted, read by experts, compared with class vectors
    inner: int = 0
    pairs: int = 0

    @property
    def width(self) -> int:
        """D, the total width."""
        return self.appearance + self.inner + motion_width(self.pairs)

    def appearance_of(self, features: Tensor) -> Tensor:
        """`(…, D)` -> `(…, appearance)`."""
        return features if self.width == self.appearance else features[..., : self.appearance]

    def inner_of(self, features: Tensor) -> Tensor:
        """`(…, D)` -> `(…, inner)`."""
        return features[..., self.appearance : self.appearance + self.inner]

    def motion_of(self, features: Tensor) -> Tensor:
        """`(…, D)` -> `(…, motion)`."""
        return features[..., self.appearance + self.inner :]
