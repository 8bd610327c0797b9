"""One view of the clip statistics: class means, within-class scatter, and the whitening that follows from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stpr.train.model.directions import unit
from stpr.train.model.scores.mirror import Mirror
from stpr.train.model.scores.samples import Samples

# How many axes of a covariance are told apart where two functions of it are needed, which no one triangle gives: the
# others vary alike in every direction. They are then most of what changes in a stage's update.
AXES: Final = 128
# A triangular whitening matrix is stored in whole STEPs above ZERO. From 1024 to 2047 half precision counts in whole
# numbers, so most of them differ in one byte only, which compresses well.
STEP: Final = 2.0**-7  # the diagonal is 1 or more
ZERO: Final = 1024.0 + 128.0
MOST: Final = 2047 - ZERO


class Spread(NamedTuple):
    """Class means and the correlation of a class's clips, in float64 and units of deviation.

    The correlation has a variance along each of its largest axes, and one variance in all other directions.
    """

    places: Tensor  # (C, S) of the class means
    axes: Tensor  # (S, K)
    variances: Tensor  # (K + 1,) along the axes, and of every other direction
    others: int  # how many of these

    def scaled(self, factors: Tensor) -> Tensor:
        """The class means `(C, S)`, multiplied by `factors` `(K + 1,)` along the axes and elsewhere."""
        rest, more = factors[-1], factors[:-1] - factors[-1]
        return self.places * rest + (self.places @ self.axes * more) @ self.axes.T

    def trace(self, factors: Tensor) -> Tensor:
        """The sum of `factors` `(K + 1,)` over all directions."""
        return factors[:-1].sum() + self.others * factors[-1]


class View(nn.Module):
    """The stored statistics of one view's descriptions `(n, S)`: means `(C, S)` and scatter around them `(S, S)`.

    If its weight is learnt, the scatter is around the means of two halves of each class's clips, and the differences of
    these means `(C, S)` are stored too; the scatter around class means follows from both. Dimensions that vary by less
    than `rounding` over all clips and classes (motion features of still clips) are rounding noise and are ignored.
    With a `mirror`, every clip counts twice, the second time as in a mirror: of its own class if that is `symmetric`.
    """

    def __init__(
        self, size: int, shrinkage: float, *, in_halves: bool, rounding: float = 1e-6, mirror: Mirror | None = None
    ) -> None:
        super().__init__()
        self.size, self.shrinkage, self.in_halves, self.rounding = size, shrinkage, in_halves, rounding
        self.mirror = mirror
        self.means: Tensor
        self.scatter: Tensor
        self.differences: Tensor
        self.register_buffer("means", torch.zeros(0, size))
        self.register_buffer("scatter", torch.zeros(size, size))
        self.register_buffer("differences", torch.zeros(0, size))
        self.symmetric: Tensor
        self.known: Tensor
        # Classes (C,) whose mirrored clips are of them, too, and the means (C, S) that clips are compared with.
        self.register_buffer("symmetric", torch.zeros(0, dtype=torch.bool), persistent=False)
        self.register_buffer("known", torch.zeros(0, size), persistent=False)
        self.centre: Tensor
        self.units: Tensor
        self.axes: Tensor
        self.gain: Tensor
        self.more: Tensor
        self.register_buffer("centre", torch.zeros(size), persistent=False)
        self.register_buffer("units", torch.ones(size), persistent=False)  # 1 / standard deviation
        # The largest axes of the correlation (S, K), or a triangular matrix that whitens (S, S). PyTorch uses them as
        # they are stored: rounded, an error below the effect of shrinkage.
        self.register_buffer("axes", torch.zeros(size, min(size, AXES), dtype=torch.float16), persistent=False)
        self.is_triangular = False
        # What whitening multiplies by in all directions, and how much more than that along each axis.
        self.register_buffer("gain", torch.zeros(()), persistent=False)
        self.register_buffer("more", torch.zeros(min(size, AXES)), persistent=False)

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
        self.symmetric = torch.zeros(len(self.means), dtype=torch.bool, device=means.device)  # to be found anew
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

    def resize(self, classes: int, *, triangular: bool = False) -> None:
        """Resize every tensor for `classes` classes, without setting values; `triangular`: as `refresh_triangular`."""
        self.means = self.means.new_zeros(classes, self.size)
        self.known, self.symmetric = self.means, torch.zeros(classes, dtype=torch.bool, device=self.means.device)
        self.differences = self.means.new_zeros(classes if self.in_halves else 0, self.size)
        self.is_triangular = triangular
        self.axes = self.axes.new_zeros(self.size, self.size if triangular else min(self.size, AXES))

    def covariance(self, counts: Tensor) -> Tensor:
        """The within-class covariance `(S, S)` in float64; `counts`: number of rows, or rows per half `(C, 2)`."""
        scatter = self.scatter.double()
        if self.in_halves:
            apart = self._apart(counts)
            scatter = scatter + apart.T @ apart
        rows = float(counts.sum())
        if self.mirror is not None:
            scatter, rows = self._mirrored(scatter, [(self.means.double(), counts.sum(dim=1))]), 2 * rows
        return scatter / max(1.0, rows - len(self.means))

    def _mirrored(self, scatter: Tensor, groups: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """The scatter with mirrored clips, around the means with these.

        `groups`: means `(C, S)` around which clips of each class scatter, and how many `(C,)` do.
        """
        assert self.mirror is not None
        scatter = scatter + self.mirror.scatter(scatter)
        for means, counts in groups:
            apart = (means - self.mirror(means)) * (self.symmetric * counts.double() / 2).sqrt()[:, None]
            scatter = scatter + apart.T @ apart
        return scatter

    def _with_mirrored(self, described: Tensor) -> Tensor:
        """Means `(…, C, S)` of classes, or of parts of them, with those of mirrored clips."""
        if self.mirror is None:
            return described
        return described.lerp(self.mirror(described), self.symmetric[:, None].to(described) / 2)

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
        total = (within + self._with_mirrored(self.means.double()).var(dim=0, correction=0)).sqrt()
        return within.clamp_min(1e-12).sqrt().masked_fill(total < self.rounding, math.inf)

    def whitened_by(self, covariance: Tensor) -> Tensor:
        """The matrix `(S, S)` in float64 that whitens centred descriptions."""
        correlation, scale = self.correlation(covariance)
        root = torch.linalg.cholesky(correlation)  # R = L Lᵀ, so L⁻¹ whitens
        whitening = torch.linalg.solve_triangular(root, torch.eye(len(scale)).to(root), upper=False).T
        scaled: Tensor = whitening / scale[:, None]
        return scaled

    def refresh(self, covariance: Tensor) -> Spread:
        """Derive what clips are read by; returns the class means and the correlation as it is then described."""
        variances, axes = self._principal(covariance)
        kept = min(self.size, AXES)
        others = max(0, int(self.units.count_nonzero()) - kept)
        rest = variances[:-kept].sum() / others if others else variances.mean()
        described = torch.cat([variances[-kept:], rest[None]])
        *_, gain = gains = self._gain(described)
        self.axes, self.is_triangular = axes[:, -kept:].half(), False
        self.gain, self.more = gain.float(), (gains[:-1] - gain).float()
        return Spread(self.places.double(), self.axes.double(), described, others)

    def refresh_triangular(self, covariance: Tensor) -> None:
        """As `refresh`, without loss: by a triangular matrix, in whole STEPs.

        It differs from the inverse root of the correlation by a rotation, which changes no length and no angle.
        """
        variances, axes = self._principal(covariance)
        whitening = torch.linalg.qr((axes * self._gain(variances)).T, mode="r").R.T  # times their transpose: the same
        step = max(STEP, float(whitening.abs().max()) / MOST)  # above STEP only if almost nothing is shrunk
        self.axes, self.is_triangular = ((whitening / step).round() + ZERO).half(), True
        self.gain, self.more = whitening.new_tensor(step).float(), self.more[:0]

    def _principal(self, covariance: Tensor) -> tuple[Tensor, Tensor]:
        """Set centre and units; returns the variances `(S,)` and axes `(S, S)` of the correlation, the largest last."""
        scale = self._scale(covariance)
        self.known = self._with_mirrored(self.means)
        self.centre, self.units = self.known.mean(dim=0), (1 / scale).float()
        variances, axes = torch.linalg.eigh(covariance / scale / scale[:, None])
        return variances.clamp_min(0), axes

    def _gain(self, variances: Tensor) -> Tensor:
        """What whitening multiplies by where clips vary so much."""
        return ((1 - self.shrinkage) * variances + self.shrinkage).clamp_min(1e-12).rsqrt()

    def in_units(self, described: Tensor) -> Tensor:
        """Centre descriptions `(B, S)` on the classes, in units of the deviation of a class's clips."""
        return (described - self.centre) * self.units

    @property
    def places(self) -> Tensor:
        """The means of the classes `(C, S)`, centred and in units of deviation.

        Derived where it is used, as `directions`: means never change once they are learnt, so a stage's update brings
        those of new classes only, and engines compute what follows from them once, when they load a graph.
        """
        return self.in_units(self.known)

    @property
    def directions(self) -> Tensor:
        """The directions `(C, S)` of the classes, whitened."""
        return unit(self.whiten(self.places))

    def pointed(self, described: Tensor) -> Tensor:
        """The directions `(B, S)` of descriptions from the centre of the classes, whitened."""
        return unit(self.whiten(self.in_units(described)))

    def along(self, scaled: Tensor) -> Tensor:
        """The coordinates `(B, K)` of clips `in_units` along the axes."""
        return scaled @ self.axes.to(scaled.dtype)

    def whiten(self, scaled: Tensor) -> Tensor:
        """Whiten clips `in_units` `(B, S)`."""
        if self.is_triangular:
            # Not the product times `gain`: to fuse that, onnxruntime-web would need the scalar inside the graph.
            return scaled @ ((self.axes.to(scaled.dtype) - ZERO) * self.gain)
        return self.turned(scaled, self.gain, self.more)

    def turned(self, scaled: Tensor, gain: Tensor, more: Tensor) -> Tensor:
        """Multiply clips `in_units` `(B, S)` by `gain`, and along each axis by `more` `(K,)` than that."""
        # Clips are transposed, not the axes: a bundle would store those twice.
        along = self.axes.to(scaled.dtype) @ (self.along(scaled) * more).T
        return scaled * gain + along.T

    def whitened(self, described: Tensor) -> Tensor:
        """Centre descriptions `(B, S)` on the classes and whiten them, in float64."""
        return self.whiten(self.in_units(described)).double()

    def alike_in_mirror(self, counts: Tensor) -> Tensor:
        """Cosines `(C, C)` of mirrored class means with class means, whitened as if no class was symmetric.

        To be called after `update`, before `symmetric` is set.
        """
        assert self.mirror is not None
        means = self.means.double()
        whitening = self.whitened_by(self.covariance(counts))
        moved, known = (unit((part - means.mean(dim=0)) @ whitening) for part in (self.mirror(means), means))
        return moved @ known.T

    def halved(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Centred means of the halves `(2, C, S)` and their differences `(C, S)`, whitened by the scatter in halves.

        `counts` `(C, 2)` are rows per half. Whitening by the scatter around class means, which includes the
        differences of the halves, would make noise look reliable.
        """
        first, second = counts.double().unbind(dim=1)
        share = (second / (first + second))[:, None]
        differences, means = self.differences.double(), self.means.double()
        halves = torch.stack([means + share * differences, means - (1 - share) * differences])
        scatter, rows = self.scatter.double(), float(counts.sum())
        if self.mirror is not None:
            scatter, rows = self._mirrored(scatter, list(zip(halves, (first, second), strict=True))), 2 * rows
        whitening = self.whitened_by(scatter / max(1.0, rows - 2 * len(means)))
        halves, differences = self._with_mirrored(halves), self._with_mirrored(differences)
        return (halves - halves.mean(dim=1, keepdim=True)) @ whitening, differences @ whitening
