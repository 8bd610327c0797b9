"""What the columns of a frame feature `(…, D)` are: what experts see, inner layers of the backbone, motion."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from stpr.train.model.motion import motion_width


@dataclass(frozen=True, slots=True)
class Columns:
    """How wide each is; they stand side by side in this order. `pairs` are those of the motion, 0 without."""

    appearance: int  # the paper's V^s: what adapters tune, experts read and class vectors are compared with
    inner: int = 0
    pairs: int = 0

    @property
    def width(self) -> int:
        """D, all of them together."""
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
