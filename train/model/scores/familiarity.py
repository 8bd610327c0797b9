"""How familiar a clip is: the evidence that it shows a class learnt so far and not one that was never seen.

Clips of class c are Gaussian around its mean under the shared covariance. A class that was never seen has its mean
anywhere around the middle of the known ones, as far out as they are on average, so its clips are Gaussian around that
middle under a wider covariance. The log ratio of the two densities is compared with what clips of class c themselves
would get: familiarity is how many standard deviations above or below their mean it lies, for the class where that is
most. That unit means the same after any number of stages, so a threshold learnt at one stage holds at the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Final

import torch
from torch import Tensor, nn

LONE_SPREAD: Final = 1.0  # of class means around their middle, where there is one class: as wide as a class itself


class _Place(nn.Module):
    """One view's part of the log ratio, derived from class means and covariance."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.centre: Tensor
        self.spread: Tensor
        self.weight: Tensor
        self.register_buffer("centre", torch.zeros(size), persistent=False)
        self.register_buffer("spread", torch.zeros(size, size), persistent=False)
        self.register_buffer("weight", torch.zeros(0, size), persistent=False)


class Familiarity(nn.Module):
    """Descriptions `(B, S)` -> standard deviations `(B,)`, derived from class means and covariance of each view.

    Views count as independent of one another: their log ratios add up. `shrinkage` is how far a covariance is drawn to
    its diagonal.
    """

    def __init__(self, sizes: Sequence[int], shrinkage: float) -> None:
        super().__init__()
        self.shrinkage = shrinkage
        self.places = nn.ModuleList(_Place(size) for size in sizes)
        self.sizes = list(sizes)
        self.slope: Tensor
        self.bias: Tensor
        self.register_buffer("slope", torch.zeros(0), persistent=False)
        self.register_buffer("bias", torch.zeros(0), persistent=False)

    def refresh(self, views: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Derive the maps from each view's class means `(C, S)` and within-class covariance `(S, S)` in float64.

        In the covariance's axes, each in units of its own deviation, twice the log ratio is
        sum z²/(w + β) - sum (z - c)²/w for a clip at z and a class at c: quadratic in z, the same for every class, and
        linear. Its mean and variance over z ~ N(c, λ) are known in closed form.
        """
        count = len(views[0][0])
        expected = variance = constant = views[0][1].new_zeros(count)
        linear = []
        for (means, covariance), place in zip(views, self._places(), strict=True):
            scale = covariance.diagonal().clamp_min(1e-12).sqrt()
            variances, axes = torch.linalg.eigh(covariance / scale / scale[:, None])
            place.centre = means.mean(dim=0)
            at = (means.double() - place.centre) / scale @ axes  # (C, S)
            between = at.square().sum() / (count - 1) / len(scale) if count > 1 else at.new_tensor(LONE_SPREAD)
            near = (1 - self.shrinkage) * variances + self.shrinkage
            far = near + between
            squared = 1 / near - 1 / far
            expected = expected + (at.square() / far).sum(dim=1) - (squared * variances).sum()
            doubtful = 2 * (squared * variances).square().sum()
            variance = variance + (doubtful + 4 * ((at / far).square() * variances).sum(dim=1))
            constant = constant + (at.square() / near).sum(dim=1)
            place.spread = (axes * squared.sqrt() / scale[:, None]).float()
            linear.append(2 * (at / near) @ axes.T / scale)
        deviation = variance.clamp_min(1e-12).sqrt()  # (C,)
        for place, slopes in zip(self._places(), linear, strict=True):
            place.weight = (slopes / deviation[:, None]).float()
        self.slope = (1 / deviation).float()
        self.bias = (-(constant + expected) / deviation).float()

    def forward(self, described: Tensor) -> Tensor:
        """Standard deviations from what clips of the most favourable class usually get: `(B, S)` -> `(B,)`."""
        score = self.bias
        for place, part in zip(self._places(), self._parts(described), strict=True):
            moved = part - place.centre
            length = (moved @ place.spread).square().sum(dim=1, keepdim=True)  # (B, 1)
            score = score + (moved @ place.weight.T - length * self.slope)
        return score.amax(dim=1)

    def _parts(self, described: Tensor) -> list[Tensor]:
        if len(self.sizes) == 1:
            return [described]
        stops = list(accumulate(self.sizes))
        return [described[:, stop - size : stop] for stop, size in zip(stops, self.sizes, strict=True)]

    def _places(self) -> list[_Place]:
        return [place for place in self.places if isinstance(place, _Place)]
