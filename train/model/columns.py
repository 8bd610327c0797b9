"""The layout of a frame feature `(…, D)`: columns for appearance, inner layers of the backbone, and motion."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise

from torch import Tensor

from stpr.runtime.contract.errors import RecipeError
from stpr.train.model.motion import motion_width


@dataclass(frozen=True, slots=True)
class Columns:
    """The widths of the three groups, in this order."""

    appearance: int  # the paper's V^s: adapted, read by experts, compared with class vectors
    layers: tuple[int, ...] = ()  # of each inner layer
    pairs: int = 0  # motion pairs per frame, 0 without motion

    @property
    def inner(self) -> int:
        """The width of all inner layers."""
        return sum(self.layers)

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

    def inner_shares(self, count: int) -> list[slice]:
        """The slice of the inner columns for each of `count` equal groups of the layers.

        Raises RecipeError if the layers can't be divided evenly.
        """
        if not self.layers or len(self.layers) % count:
            raise RecipeError(
                f"[statistics] inner: {len(self.layers)} inner layers can't be divided evenly among {count} views; name"
                f" a multiple of {count} layers in [backbone] inner, or set views = 1."
            )
        each = len(self.layers) // count
        ends = [0, *accumulate(sum(self.layers[start : start + each]) for start in range(0, len(self.layers), each))]
        return [slice(start, stop) for start, stop in pairwise(ends)]

    def motion_of(self, features: Tensor) -> Tensor:
        """`(…, D)` -> `(…, motion)`."""
        return features[..., self.appearance + self.inner :]
