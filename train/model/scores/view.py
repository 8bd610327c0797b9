"""One view of clips: class means and one within-class scatter, and the directions in which the classes lie."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stpr.train.model.directions import unit
from stpr.train.model.scores.samples import Samples


class Spread(NamedTuple):
    """Classes and their clips in the axes of a covariance, in float64."""

    places: Tensor  # (C, S) of the class means
    variances: Tensor  # (S,) of a class's clips along each axis


class View(nn.Module):
    """What is kept of one view's descriptions `(n, S)`: means `(C, S)` and the scatter around them `(S, S)`.

    Where its weight is learnt, the scatter is that around the means of two halves of each class's clips, and by how
    much these differ is kept too `(C, S)`: the scatter around the classes' means follows. A number that varies by less
    than `rounding` over all clips and classes (motion, where nothing moves) is what arithmetic left, and is not heard.
    """

    def __init__(self, size: int, shrinkage: float, *, in_halves: bool, rounding: float = 1e-6) -> None:
        super().__init__()
        self.size, self.shrinkage, self.in_halves, self.rounding = size, shrinkage, in_halves, rounding
        self.means: Tensor
        self.scatter: Tensor
        self.differences: Tensor
        self.register_buffer("means", torch.zeros(0, size))
        self.register_buffer("scatter", torch.zeros(size, size))
        self.register_buffer("differences", torch.zeros(0, size))
        self.centre: Tensor
        self.units: Tensor
        self.axes: Tensor
        self.gains: Tensor
        self.directions: Tensor
        self.register_buffer("centre", torch.zeros(size), persistent=False)
        # Of the correlations; what whitens is a gain of each axis. They are most of what changes at a stage, and half
        # precision turns an axis by less than its shrinkage hides. PyTorch itself sees them so, and devices the same.
        self.register_buffer("units", torch.ones(size), persistent=False)  # 1 / a feature's deviation
        self.register_buffer("axes", torch.zeros(0, 0, dtype=torch.float16), persistent=False)
        self.register_buffer("gains", torch.zeros(size), persistent=False)
        self.register_buffer("directions", torch.zeros(0, size), persistent=False)

    def update(self, described: Tensor, samples: Samples, halves: Tensor, classes: int) -> None:
        """Add a stage's `classes` classes; `described` `(n, S)` are the samples' descriptions.

        `halves` `(n,)` says in which half of its class each row is, 0 or 1.
        """
        labels, weights = samples.labels, samples.weights
        one_hot = F.one_hot(labels, classes).to(described)
        if weights is not None:
            one_hot = one_hot * weights[:, None].to(described)
        means = (one_hot.T @ described) / one_hot.sum(dim=0)[:, None]
        self.means = torch.cat([self.means, means])
        around = means[labels]
        if self.in_halves:
            parts = [one_hot * (halves == half)[:, None].to(one_hot) for half in (0, 1)]
            split = torch.stack([(part.T @ described) / part.sum(dim=0).clamp_min(1)[:, None] for part in parts])
            self.differences = torch.cat([self.differences, split[0] - split[1]])
            around = split[halves, labels]
        centred = (described - around).double()
        if weights is not None:
            centred = centred * weights[:, None].to(centred).sqrt()
        self.scatter = self.scatter + (centred.T @ centred).float()

    def resize(self, classes: int) -> None:
        """Give every tensor the size that it has for so many classes, and no values."""
        self.means = self.means.new_zeros(classes, self.size)
        self.differences = self.means.new_zeros(classes if self.in_halves else 0, self.size)
        self.axes = self.axes.new_zeros(self.size, self.size)

    def covariance(self, counts: Tensor) -> Tensor:
        """The within-class covariance `(S, S)` in float64; `counts` are all rows, or those in each half `(C, 2)`."""
        scatter = self.scatter.double()
        if self.in_halves:
            apart = self._apart(counts)
            scatter = scatter + apart.T @ apart
        return scatter / max(1.0, float(counts.sum()) - len(self.means))

    def _apart(self, counts: Tensor) -> Tensor:
        """What the scatter around a class's mean has beyond that around its halves' means, as rows `(C, S)`."""
        first, second = counts.double().unbind(dim=1)
        return self.differences.double() * (first * second / (first + second)).sqrt()[:, None]

    def correlation(self, covariance: Tensor) -> tuple[Tensor, Tensor]:
        """Correlations `(S, S)`, drawn to the diagonal, and deviations `(S,)`."""
        scale = self._scale(covariance)
        share, one = self.shrinkage, torch.eye(len(scale), dtype=torch.float64, device=scale.device)
        related = covariance / scale / scale[:, None] + torch.diag(scale.isinf().double())
        return (1 - share) * related + share * one, scale

    def _scale(self, covariance: Tensor) -> Tensor:
        """Deviations `(S,)` within classes; infinite where nothing is heard."""
        within = covariance.diagonal()
        total = (within + self.means.double().var(dim=0, correction=0)).sqrt()
        return within.clamp_min(1e-12).sqrt().masked_fill(total < self.rounding, math.inf)

    def whitened_by(self, covariance: Tensor) -> Tensor:
        """What whitens descriptions, once they are measured from the middle of the classes: `(S, S)` in float64."""
        correlation, scale = self.correlation(covariance)
        root = torch.linalg.cholesky(correlation)  # R = L Lᵀ, so L⁻¹ whitens
        whitening = torch.linalg.solve_triangular(root, torch.eye(len(scale)).to(root), upper=False).T
        scaled: Tensor = whitening / scale[:, None]
        return scaled

    def refresh(self, covariance: Tensor) -> Spread:
        """Derive where the classes lie, as seen from their middle in the axes of `covariance`; returns that."""
        scale = self._scale(covariance)
        variances, axes = torch.linalg.eigh(covariance / scale / scale[:, None])
        self.centre, self.units, self.axes = self.means.mean(dim=0), (1 / scale).float(), axes.half()
        places = self.seen(self.means.double())
        gains = ((1 - self.shrinkage) * variances.clamp_min(0) + self.shrinkage).clamp_min(1e-12).rsqrt()
        self.gains = gains.float()
        self.directions = unit(places * gains).float()
        return Spread(places, variances)

    def seen(self, described: Tensor) -> Tensor:
        """Descriptions `(B, S)` from the middle of the classes, along the covariance's axes."""
        return ((described - self.centre) * self.units) @ self.axes.to(described.dtype)

    def whitened(self, described: Tensor) -> Tensor:
        """Descriptions `(B, S)` from the middle of the classes, where their clips vary alike in all directions."""
        return (self.seen(described) * self.gains).double()

    def halved(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Means of the halves `(2, C, S)` from their middle, and their differences `(C, S)`, whitened by their scatter.

        `counts` `(C, 2)` are rows in each half. The scatter around the classes' means has seen how the halves differ,
        and makes noise look reliable.
        """
        first, second = counts.double().unbind(dim=1)
        share = (second / (first + second))[:, None]
        differences, means = self.differences.double(), self.means.double()
        whitening = self.whitened_by(self.scatter.double() / max(1.0, float(counts.sum()) - 2 * len(means)))
        halves = torch.stack([means + share * differences, means - (1 - share) * differences])
        return (halves - halves.mean(dim=1, keepdim=True)) @ whitening, differences @ whitening
