"""The layout of a frame feature `(…, D)`: columns for appearance, inner layers of the backbone, and motion."""

from __future__ import annotations

from collections.abc import Sequence
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
    correlated: tuple[int, ...] = ()  # of the correlations of each hidden state; among the inner columns, after layers

    @property
    def inner(self) -> int:
        """The width of all inner layers and correlations."""
        return sum(self.layers) + sum(self.correlated)

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
        return _slices(0, [sum(self.layers[start : start + each]) for start in range(0, len(self.layers), each)])

    def correlated_shares(self) -> list[slice]:
        """The slice of the inner columns for the correlations of each hidden state."""
        return _slices(sum(self.layers), self.correlated)

    def motion_of(self, features: Tensor) -> Tensor:
        """`(…, D)` -> `(…, motion)`."""
        return features[..., self.appearance + self.inner :]


def _slices(first: int, widths: Sequence[int]) -> list[slice]:
    """Neighbouring slices of these widths, from `first` on."""
    return [slice(start, stop) for start, stop in pairwise(accumulate(widths, initial=first))]
