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

from stpr.train.model.rounding import rounded
from stpr.train.model.scores.view import Spread

LONE_SPREAD: Final = 1.0  # spread of class means if there is only one class, relative to the spread within it


class _Place(nn.Module):
    """The contribution of one view to the log ratio, in the axes of its covariance."""

    def __init__(self, size: int, axes: int) -> None:
        super().__init__()
        self.gain: Tensor
        self.more: Tensor
        self.weight: Tensor
        self.register_buffer("gain", torch.zeros(()), persistent=False)  # of a square in any direction
        self.register_buffer("more", torch.zeros(axes), persistent=False)  # than that, along each axis
        self.register_buffer("weight", torch.zeros(0, size), persistent=False)


class Familiarity(nn.Module):
    """Clips in the axes of each view's covariance `(B, S)` -> standard deviations `(B,)`, derived from `Spread`s.

    Views are treated as independent, so their log ratios add up. `shrinkage` is that of the covariance to its diagonal.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], shrinkage: float) -> None:
        super().__init__()
        self.shrinkage = shrinkage
        self.places = nn.ModuleList(_Place(*size) for size in sizes)
        self.slope: Tensor
        self.bias: Tensor
        self.register_buffer("slope", torch.zeros(0), persistent=False)
        self.register_buffer("bias", torch.zeros(0), persistent=False)

    def resize(self, classes: int) -> None:
        """Resize every tensor for `classes` classes, without setting values."""
        self.slope = self.bias = self.slope.new_zeros(classes)
        for place in self._places():
            place.weight = place.weight.new_zeros(classes, place.weight.shape[1])

    def refresh(self, views: Sequence[Spread]) -> None:
        """Derive the maps from each view's class means and variances.

        In the covariance's axes, each feature in units of its own deviation, twice the log ratio is
        sum z²/(w + β) - sum (z - c)²/w for a clip at z and a class at c: quadratic in z, the same for every class, and
        linear. Its mean and variance over z ~ N(c, λ) are known in closed form.
        """
        count = len(views[0].places)
        expected = variance = constant = views[0].variances.new_zeros(count)
        linear = []
        for view, place in zip(views, self._places(), strict=True):
            at, variances = view.places, view.variances
            between = at.square().sum() / (count - 1) / len(at[0]) if count > 1 else at.new_tensor(LONE_SPREAD)
            near = (1 - self.shrinkage) * variances + self.shrinkage
            far = near + between
            squared = 1 / near - 1 / far
            expected = expected + (at * view.scaled(1 / far)).sum(dim=1) - view.trace(squared * variances)
            doubtful = 2 * view.trace((squared * variances).square())
            variance = variance + (doubtful + 4 * (at * view.scaled(variances / far.square())).sum(dim=1))
            slopes = view.scaled(1 / near)
            constant = constant + (at * slopes).sum(dim=1)
            place.gain, place.more = squared[-1].float(), (squared[:-1] - squared[-1]).float()
            linear.append(2 * slopes)
        deviation = variance.clamp_min(1e-12).sqrt()  # (C,)
        for place, slopes in zip(self._places(), linear, strict=True):
            place.weight = rounded((slopes / deviation[:, None]).float())
        self.slope = (1 / deviation).float()
        self.bias = (-(constant + expected) / deviation).float()

    def forward(self, seen: Sequence[Tensor], along: Sequence[Tensor]) -> Tensor:
        """Standardised log ratio, maximum over classes: views `(B, S)`, and along their axes `(B, K)` -> `(B,)`."""
        score = self.bias
        for place, part, axes in zip(self._places(), seen, along, strict=True):
            length = place.gain * part.square().sum(dim=1) + axes.square() @ place.more  # (B,)
            score = score + (part @ place.weight.T - length[:, None] * self.slope)
        return score.amax(dim=1)

    def _places(self) -> list[_Place]:
        return [place for place in self.places if isinstance(place, _Place)]
