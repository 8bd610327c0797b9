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

from stpr.train.model.scores.view import Spread, View

LONE_SPREAD: Final = 1.0  # spread of class means if there is only one class, relative to the spread within it


class _Factors(nn.Module):
    """What one view contributes to the log ratio: factors in all directions, and how much more along each axis."""

    def __init__(self, axes: int) -> None:
        super().__init__()
        self.square: Tensor
        self.more_square: Tensor
        self.slope: Tensor
        self.more_slope: Tensor
        self.register_buffer("square", torch.zeros(()), persistent=False)  # of squares
        self.register_buffer("more_square", torch.zeros(axes), persistent=False)
        self.register_buffer("slope", torch.zeros(()), persistent=False)  # of products with the class means
        self.register_buffer("more_slope", torch.zeros(axes), persistent=False)

    def set(self, squared: Tensor, slopes: Tensor) -> None:
        """Set all from factors `(K + 1,)` along the axes and elsewhere."""
        (self.square, self.more_square), (self.slope, self.more_slope) = (
            (factors[-1].float(), (factors[:-1] - factors[-1]).float()) for factors in (squared, slopes)
        )


class Familiarity(nn.Module):
    """Clips in the axes of each view's covariance `(B, S)` -> standard deviations `(B,)`, derived from `Spread`s.

    Views are treated as independent, so their log ratios add up. `shrinkage` is that of the covariance to its diagonal.
    """

    def __init__(self, axes: Sequence[int], shrinkage: float) -> None:
        super().__init__()
        self.shrinkage = shrinkage
        self.factors = nn.ModuleList(map(_Factors, axes))
        self.slope: Tensor
        self.bias: Tensor
        self.register_buffer("slope", torch.zeros(0), persistent=False)
        self.register_buffer("bias", torch.zeros(0), persistent=False)

    def resize(self, classes: int) -> None:
        """Resize every tensor for `classes` classes, without setting values."""
        self.slope = self.bias = self.slope.new_zeros(classes)

    def refresh(self, views: Sequence[Spread]) -> None:
        """Derive the maps from each view's class means and variances.

        In the covariance's axes, each feature in units of its own deviation, twice the log ratio is
        sum z²/(w + β) - sum (z - c)²/w for a clip at z and a class at c: quadratic in z, the same for every class, and
        linear. Its mean and variance over z ~ N(c, λ) are known in closed form.
        """
        count = len(views[0].places)
        expected = variance = constant = views[0].variances.new_zeros(count)
        for view, factors in zip(views, self._factors(), strict=True):
            at, variances = view.places, view.variances
            between = at.square().sum() / (count - 1) / len(at[0]) if count > 1 else at.new_tensor(LONE_SPREAD)
            near = (1 - self.shrinkage) * variances + self.shrinkage
            far = near + between
            squared = 1 / near - 1 / far
            expected = expected + (at * view.scaled(1 / far)).sum(dim=1) - view.trace(squared * variances)
            doubtful = 2 * view.trace((squared * variances).square())
            variance = variance + (doubtful + 4 * (at * view.scaled(variances / far.square())).sum(dim=1))
            constant = constant + (at * view.scaled(1 / near)).sum(dim=1)
            factors.set(squared, 2 / near)
        deviation = variance.clamp_min(1e-12).sqrt()  # (C,)
        self.slope = (1 / deviation).float()
        self.bias = (-(constant + expected) / deviation).float()

    def forward(self, views: Sequence[View], seen: Sequence[Tensor]) -> Tensor:
        """Standardised log ratio, maximum over classes; `seen` are clips in units of each view `(B, S)` -> `(B,)`."""
        score = self.bias
        for view, factors, part in zip(views, self._factors(), seen, strict=True):
            along = view.along(part).square() @ factors.more_square
            length = factors.square * part.square().sum(dim=1) + along  # (B,)
            product = view.turned(part, factors.slope, factors.more_slope) @ view.places.T  # (B, C)
            score = score + (product - length[:, None]) * self.slope
        return score.amax(dim=1)

    def _factors(self) -> list[_Factors]:
        return [factors for factors in self.factors if isinstance(factors, _Factors)]
