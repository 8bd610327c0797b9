"""What clips would be described as in a mirror.

A movement that is done with the other hand, or filmed from the other side, is often its mirror image. The description
of mirrored motion is a permutation of that of the motion, with some signs changed; so means and scatter of mirrored
clips follow from those that are stored, and no mirrored clip needs to be encoded.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Mirror:
    """Descriptions `(…, S)` -> those of the mirrored clips."""

    order: Tensor  # (S,) of columns
    signs: Tensor  # (S,)

    def __call__(self, described: Tensor) -> Tensor:
        """Descriptions `(…, S)` of the mirrored clips."""
        return described[..., self.order] * self.signs.to(described)

    def scatter(self, scatter: Tensor) -> Tensor:
        """The scatter `(S, S)` of the mirrored clips around their mean."""
        return self(self(scatter).T).T

    def repeated(self, count: int) -> Mirror:
        """Of `count` groups of such columns."""
        starts = torch.arange(count)[:, None] * len(self.order)
        return Mirror((starts + self.order).flatten(), self.signs.repeat(count))

    def unsigned(self) -> Mirror:
        """Of magnitudes and products of such columns."""
        return Mirror(self.order, torch.ones_like(self.signs))


def joined(mirrors: list[Mirror]) -> Mirror:
    """Of columns of several kinds, one after the other."""
    starts = torch.tensor([0, *(len(mirror.order) for mirror in mirrors)]).cumsum(dim=0)
    order = [mirror.order + start for mirror, start in zip(mirrors, starts, strict=False)]
    return Mirror(torch.cat(order), torch.cat([mirror.signs for mirror in mirrors]))
