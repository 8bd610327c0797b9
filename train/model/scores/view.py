"""One view of the clip statistics: class means, within-class scatter, and the whitened directions of the classes."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stpr.train.model.directions import unit
from stpr.train.model.rounding import rounded
from stpr.train.model.scores.samples import Samples

# A triangular whitening matrix is stored in whole STEPs above ZERO. From 1024 to 2047 half precision counts in whole
# numbers, so most of them differ in one byte only, which compresses well.
STEP: Final = 2.0**-7  # the diagonal is 1 or more
ZERO: Final = 1024.0 + 128.0
MOST: Final = 2047 - ZERO


class Spread(NamedTuple):
    """Class means and variances in the axes of a covariance, in float64."""

    places: Tensor  # (C, S) of the class means
    variances: Tensor  # (S,) of a class's clips along each axis


class View(nn.Module):
    """The stored statistics of one view's descriptions `(n, S)`: means `(C, S)` and scatter around them `(S, S)`.

    If its weight is learnt, the scatter is around the means of two halves of each class's clips, and the differences of
    these means `(C, S)` are stored too; the scatter around class means follows from both. Dimensions that vary by less
    than `rounding` over all clips and classes (motion features of still clips) are rounding noise and are ignored.
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
        # Axes of the correlation matrix, or a triangular matrix in their place; whitening scales each. They are most of
        # what changes in a stage's update, so they are rounded to half precision, an error below the effect of
        # shrinkage; PyTorch uses the rounded values.
        self.register_buffer("units", torch.ones(size), persistent=False)  # 1 / standard deviation
        self.register_buffer("axes", torch.zeros(0, 0, dtype=torch.float16), persistent=False)
        self.zero = 0.0  # the value of `axes` that stands for 0
        self.register_buffer("gains", torch.zeros(size), persistent=False)
        self.register_buffer("directions", torch.zeros(0, size), persistent=False)

    def update(self, described: Tensor, samples: Samples, halves: Tensor, classes: int) -> None:
        """Add the `classes` classes of a stage; `described` `(n, S)` are the samples' descriptions.

        `halves` `(n,)` is the half of its class that each row belongs to, 0 or 1.
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
        """Resize every tensor for `classes` classes, without setting values."""
        self.means = self.means.new_zeros(classes, self.size)
        self.differences = self.means.new_zeros(classes if self.in_halves else 0, self.size)
        self.axes = self.axes.new_zeros(self.size, self.size)
        self.directions = self.directions.new_zeros(classes, self.size)

    def covariance(self, counts: Tensor) -> Tensor:
        """The within-class covariance `(S, S)` in float64; `counts`: number of rows, or rows per half `(C, 2)`."""
        scatter = self.scatter.double()
        if self.in_halves:
            apart = self._apart(counts)
            scatter = scatter + apart.T @ apart
        return scatter / max(1.0, float(counts.sum()) - len(self.means))

    def _apart(self, counts: Tensor) -> Tensor:
        """Rows `(C, S)` whose outer products add up to scatter around class means minus scatter around half means."""
        first, second = counts.double().unbind(dim=1)
        return self.differences.double() * (first * second / (first + second)).sqrt()[:, None]

    def correlation(self, covariance: Tensor) -> tuple[Tensor, Tensor]:
        """Correlations `(S, S)`, shrunk to the diagonal, and standard deviations `(S,)`."""
        scale = self._scale(covariance)
        share, one = self.shrinkage, torch.eye(len(scale), dtype=torch.float64, device=scale.device)
        related = covariance / scale / scale[:, None] + torch.diag(scale.isinf().double())
        return (1 - share) * related + share * one, scale

    def _scale(self, covariance: Tensor) -> Tensor:
        """Standard deviations `(S,)` within classes; infinite for ignored dimensions."""
        within = covariance.diagonal()
        total = (within + self.means.double().var(dim=0, correction=0)).sqrt()
        return within.clamp_min(1e-12).sqrt().masked_fill(total < self.rounding, math.inf)

    def whitened_by(self, covariance: Tensor) -> Tensor:
        """The matrix `(S, S)` in float64 that whitens centred descriptions."""
        correlation, scale = self.correlation(covariance)
        root = torch.linalg.cholesky(correlation)  # R = L Lᵀ, so L⁻¹ whitens
        whitening = torch.linalg.solve_triangular(root, torch.eye(len(scale)).to(root), upper=False).T
        scaled: Tensor = whitening / scale[:, None]
        return scaled

    def refresh(self, covariance: Tensor) -> Spread:
        """Derive and return the class means, centred, in the axes of `covariance`."""
        axes, gains, variances = self._principal(covariance)
        return Spread(self._read_by(axes, gains), variances)

    def refresh_triangular(self, covariance: Tensor) -> None:
        """As `refresh`, with a triangular matrix for the axes, which has half the numbers, in whole STEPs.

        Whitened clips differ from those of `refresh` by a rotation, which changes no length and no angle.
        """
        axes, gains, _ = self._principal(covariance)
        whitening = torch.linalg.qr((axes * gains).T, mode="r").R.T  # both times their transpose: the same matrix
        step = max(STEP, float(whitening.abs().max()) / MOST)  # above STEP only if almost nothing is shrunk
        self._read_by((whitening / step).round() + ZERO, torch.full_like(gains, step), zero=ZERO)

    def _principal(self, covariance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Axes `(S, S)` of the correlations, the gains along them that whiten, and the variances, `(S,)` each."""
        scale = self._scale(covariance)
        self.units = (1 / scale).float()
        variances, axes = torch.linalg.eigh(covariance / scale / scale[:, None])
        kept = (1 - self.shrinkage) * variances.clamp_min(0) + self.shrinkage
        return axes, kept.clamp_min(1e-12).rsqrt(), variances

    def _read_by(self, axes: Tensor, gains: Tensor, zero: float = 0.0) -> Tensor:
        """Set axes and gains, and derive the directions of the classes; returns their places in these axes `(C, S)`."""
        self.centre, self.axes, self.gains, self.zero = self.means.mean(dim=0), axes.half(), gains.float(), zero
        places = self.seen(self.means.double())
        self.directions = rounded(unit(places * gains).float())
        return places

    def seen(self, described: Tensor) -> Tensor:
        """Centre descriptions `(B, S)` on the classes and rotate them to the covariance's axes."""
        axes = self.axes.to(described.dtype)
        return ((described - self.centre) * self.units) @ (axes - self.zero if self.zero else axes)

    def whitened(self, described: Tensor) -> Tensor:
        """Centre descriptions `(B, S)` on the classes and whiten them."""
        return (self.seen(described) * self.gains).double()

    def halved(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Centred means of the halves `(2, C, S)` and their differences `(C, S)`, whitened by the scatter in halves.

        `counts` `(C, 2)` are rows per half. Whitening by the scatter around class means, which includes the
        differences of the halves, would make noise look reliable.
        """
        first, second = counts.double().unbind(dim=1)
        share = (second / (first + second))[:, None]
        differences, means = self.differences.double(), self.means.double()
        whitening = self.whitened_by(self.scatter.double() / max(1.0, float(counts.sum()) - 2 * len(means)))
        halves = torch.stack([means + share * differences, means - (1 - share) * differences])
        return (halves - halves.mean(dim=1, keepdim=True)) @ whitening, differences @ whitening
