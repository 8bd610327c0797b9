"""Familiarity by distance: the evidence that a clip shows a learnt class and not an unseen one.

Clips of class c are modelled as Gaussian around its mean with the shared covariance. An unseen class has its mean
anywhere around the centre of the known ones, as far out as they are on average, so its clips are Gaussian around that
centre with a wider covariance. The log ratio of the two densities is standardised by its mean and standard deviation
for clips of class c; familiarity is the largest such value over the classes. Its unit (standard deviations) means the
same after any number of stages, so a threshold learnt at one stage holds at the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from stpr.train.model.scores.view import Spread

LONE_SPREAD: Final = 1.0  # spread of class means if there is only one class, relative to the spread within it


class _Place(nn.Module):
    """The contribution of one view to the log ratio, in the axes of its covariance."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.gains: Tensor
        self.weight: Tensor
        self.register_buffer("gains", torch.zeros(size), persistent=False)
        self.register_buffer("weight", torch.zeros(0, size), persistent=False)


class Familiarity(nn.Module):
    """Clips in the axes of each view's covariance `(B, S)` -> standard deviations `(B,)`, derived from `Spread`s.

    Views are treated as independent, so their log ratios add up. `shrinkage` is that of the covariance to its diagonal.
    """

    def __init__(self, sizes: Sequence[int], shrinkage: float) -> None:
        super().__init__()
        self.shrinkage = shrinkage
        self.places = nn.ModuleList(_Place(size) for size in sizes)
        self.slope: Tensor
        self.bias: Tensor
        self.register_buffer("slope", torch.zeros(0), persistent=False)
        self.register_buffer("bias", torch.zeros(0), persistent=False)

    def resize(self, classes: int) -> None:
        """Resize every tensor for `classes` classes, without setting values."""
        self.slope = self.bias = self.slope.new_zeros(classes)
        for place in self._places():
            place.weight = place.gains.new_zeros(classes, len(place.gains))

    def refresh(self, views: Sequence[Spread]) -> None:
        """Derive the maps from each view's class means and variances.

        In the covariance's axes, each feature in units of its own deviation, twice the log ratio is
        sum z²/(w + β) - sum (z - c)²/w for a clip at z and a class at c: quadratic in z, the same for every class, and
        linear. Its mean and variance over z ~ N(c, λ) are known in closed form.
        """
        count = len(views[0].places)
        expected = variance = constant = views[0].variances.new_zeros(count)
        linear = []
        for (at, variances), place in zip(views, self._places(), strict=True):
            between = at.square().sum() / (count - 1) / len(variances) if count > 1 else at.new_tensor(LONE_SPREAD)
            near = (1 - self.shrinkage) * variances + self.shrinkage
            far = near + between
            squared = 1 / near - 1 / far
            expected = expected + (at.square() / far).sum(dim=1) - (squared * variances).sum()
            doubtful = 2 * (squared * variances).square().sum()
            variance = variance + (doubtful + 4 * ((at / far).square() * variances).sum(dim=1))
            constant = constant + (at.square() / near).sum(dim=1)
            place.gains = squared.sqrt().float()
            linear.append(2 * at / near)
        deviation = variance.clamp_min(1e-12).sqrt()  # (C,)
        for place, slopes in zip(self._places(), linear, strict=True):
            place.weight = (slopes / deviation[:, None]).float()
        self.slope = (1 / deviation).float()
        self.bias = (-(constant + expected) / deviation).float()

    def forward(self, seen: Sequence[Tensor]) -> Tensor:
        """Standardised log ratio, maximum over classes: views `(B, S)` -> `(B,)`."""
        score = self.bias
        for place, part in zip(self._places(), seen, strict=True):
            length = (part * place.gains).square().sum(dim=1, keepdim=True)  # (B, 1)
            score = score + (part @ place.weight.T - length * self.slope)
        return score.amax(dim=1)

    def _places(self) -> list[_Place]:
        return [place for place in self.places if isinstance(place, _Place)]
