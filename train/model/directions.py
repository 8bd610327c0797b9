"""Vectors at unit length."""

from __future__ import annotations

from typing import Final

from torch import Tensor

SHORTEST: Final = 1e-12


def unit(vectors: Tensor) -> Tensor:
    """Vectors `(…, D)` at length 1; those of next to no length stay short.

    As functional.normalize, but in a graph it is a norm and a division: that one asks for its own shape, and an engine
    that computes shapes on the CPU leaves its accelerator for it.
    """
    scaled: Tensor = vectors / vectors.norm(dim=-1, keepdim=True).clamp_min(SHORTEST)
    return scaled
