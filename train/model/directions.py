"""Normalise vectors to unit length."""

from __future__ import annotations

from typing import Final

from torch import Tensor

SHORTEST: Final = 1e-12


def unit(vectors: Tensor) -> Tensor:
    """Normalise vectors `(…, D)` to length 1; vectors of almost zero length stay short.

    Like functional.normalize, which exports with a shape computation that some engines run on the CPU; this is a norm
    and a division only.
    """
    scaled: Tensor = vectors / vectors.norm(dim=-1, keepdim=True).clamp_min(SHORTEST)
    return scaled
