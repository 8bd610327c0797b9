"""How much happens in a clip, and how much must happen before it can be an action of a class."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from stpr.runtime.contract.errors import ContractError
from stpr.runtime.contract.preprocess import Array


class EnergySpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The least energy of each class, in logit order: what nearly all of its training clips exceed.

    Static classes have low floors themselves, so a held hand shape stays one. A class without a floor (None) had too
    few clips to set one.
    """

    recall: float  # share of a class's own clips that a floor was set to keep
    floors: tuple[float | None, ...]

    def __post_init__(self) -> None:
        """Refuse numbers that are no energies."""
        if not all(floor is None or 0 <= floor < math.inf for floor in self.floors):
            raise ContractError(f"energy floors must be 0 or more, got {list(self.floors)}.")

    def is_too_still(self, best: int, found: float) -> bool:
        """Whether less happens in a clip than in clips of its likeliest class: then it is not that class."""
        floor = self.floors[best]
        return floor is not None and found < floor


def energy(features: Array) -> Array:
    """Root mean square of what frame features `(..., T, D)` do around their mean over time: `(...)`, in float64."""
    residual = features.astype(np.float64) - features.mean(axis=-2, keepdims=True, dtype=np.float64)
    return np.asarray(np.sqrt(np.square(residual).mean(axis=(-2, -1))))
