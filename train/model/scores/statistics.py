"""What is said of a clip in a few numbers, and how well each class explains them.

`ClipScores` describes; `ClipStatistics` scores under one covariance shared by all stages: closed form, exemplar-free,
comparable across stages. The decomposed parts of a clip (its mean, and what its frames do around the mean) are Gaussian
per class with one within-class covariance (streaming LDA; method §12.1 (7)), or point in their class's direction once
that covariance is whitened. Means and scatter are sums over clips: their size does not depend on how many there were.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stpr.train.model.scores.familiarity import Familiarity
from stpr.train.model.scores.wholeness import Wholeness, energy
from stpr.train.settings.model import StatisticsSettings

COSINES = 4


def cosine_terms(frames: int) -> Tensor:
    """The first COSINES non-constant terms of the orthonormal cosine transform over time: `(COSINES, T)`."""
    time = (torch.arange(frames, dtype=torch.float64) + 0.5) * math.pi / frames
    order = torch.arange(1, min(COSINES, frames - 1) + 1, dtype=torch.float64)
    terms: Tensor = (2 / frames) ** 0.5 * torch.cos(order[:, None] * time)
    return terms.float()


class ClipScores(nn.Module):
    """Describes clips `(B, T, D)` by `(B, S)` and scores every class seen so far by an affine map of that.

    The map is measured from `centre`: large numbers that cancel would cost float32 three digits.
    """

    def __init__(self, frames: int, width: int, settings: StatisticsSettings) -> None:
        super().__init__()
        self.settings = settings
        self.cosines: Tensor
        self.register_buffer("cosines", cosine_terms(frames), persistent=False)
        self.size = self.describe(torch.zeros(1, frames, width)).shape[1]
        self.centre: Tensor
        self.weight: Tensor
        self.bias: Tensor
        # What `refresh` derives from whatever a kind of scores keeps.
        self.register_buffer("centre", torch.zeros(self.size), persistent=False)
        self.register_buffer("weight", torch.zeros(0, self.size), persistent=False)
        self.register_buffer("bias", torch.zeros(0), persistent=False)

    def describe(self, features: Tensor) -> Tensor:
        """The decomposed parts of clips `(B, T, D)`, side by side: `(B, S)`."""
        static = features.mean(dim=1)
        residual = features - static[:, None]
        half = features.shape[1] // 2
        parts = {
            "mean": lambda: static,
            "difference": lambda: residual[:, half:].mean(dim=1) - residual[:, :half].mean(dim=1),
            "deviation": lambda: (residual.square().mean(dim=1) + 1e-6).sqrt(),
            "cosines": lambda: (self.cosines @ residual).flatten(1),
            "change": lambda: (features[:, 1:] - features[:, :-1]).abs().mean(dim=1),
            "lag1": lambda: (residual[:, 1:] * residual[:, :-1]).mean(dim=1),
            "lag2": lambda: (residual[:, 2:] * residual[:, :-2]).mean(dim=1),
        }
        return torch.cat([parts[name]() for name in self.settings.parts], dim=1)

    def transform(self, described: Tensor) -> Tensor:
        """What the affine map reads of descriptions `(B, S)`: themselves."""
        return described

    def log_likelihoods(self, features: Tensor) -> Tensor:
        """Log p(clip | class) up to a constant per clip: `(B, T, D)` -> `(B, C)`."""
        return (self.transform(self.describe(features)) - self.centre) @ self.weight.T + self.bias

    def update(self, described: Tensor, labels: Tensor, classes: int) -> None:
        """Add a stage's `classes` new classes: `described` `(n, S)`, `labels` `(n,)` from 0 within the stage."""
        raise NotImplementedError

    def resize(self, classes: int) -> None:
        """Give every tensor the size that it has for so many classes, and no values."""
        read = self.transform(self.weight.new_zeros(1, self.size)).shape[1]
        self.centre, self.bias = self.weight.new_zeros(read), self.weight.new_zeros(classes)
        self.weight = self.weight.new_zeros(classes, read)

    def refresh(self) -> None:
        """Derive the affine map from what is kept."""
        raise NotImplementedError


class ClipStatistics(ClipScores):
    """Class means and one within-class scatter: a Gaussian per class, one covariance for all."""

    def __init__(self, frames: int, width: int, settings: StatisticsSettings) -> None:
        super().__init__(frames, width, settings)
        self.means: Tensor
        self.scatter: Tensor
        self.count: Tensor
        self.register_buffer("means", torch.zeros(0, self.size))
        self.register_buffer("scatter", torch.zeros(self.size, self.size))
        self.register_buffer("count", torch.zeros(()))
        self.familiarity = Familiarity(self.size)
        self.wholeness = Wholeness(self.size) if settings.events else None
        self.whitening: Tensor
        self.register_buffer("whitening", torch.zeros(0, 0), persistent=False)  # derived where directions are compared

    def log_likelihoods(self, features: Tensor) -> Tensor:
        """Log p(clip | class) up to a constant per clip: `(B, T, D)` -> `(B, C)`."""
        if self.settings.likelihood == "gaussian":
            return super().log_likelihoods(features)
        moved = (self.describe(features) - self.centre) @ self.whitening
        return F.normalize(moved, dim=-1) @ self.weight.T

    @property
    def tells_events(self) -> bool:
        """Whether there is evidence of whole actions."""
        return self.wholeness is not None and self.wholeness.is_calibrated

    def directions(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Whitened descriptions `(B, S)` of clips `(B, T, D)`, and their cosines `(B, C)` with the classes."""
        moved = (self.describe(features) - self.centre) @ self.whitening
        return moved, F.normalize(moved, dim=-1) @ self.weight.T / self.settings.concentration

    def evidence(self, features: Tensor) -> Tensor:
        """Log odds `(B, C)` that clips `(B, T, D)` show one whole action of each class."""
        assert self.wholeness is not None
        found: Tensor = self.wholeness(*self.directions(features), energy(features))
        return found

    def update(self, described: Tensor, labels: Tensor, classes: int) -> None:
        """Add a stage's `classes` new classes: `described` `(n, S)`, `labels` `(n,)` from 0 within the stage."""
        one_hot = F.one_hot(labels, classes).to(described)
        means = (one_hot.T @ described) / one_hot.sum(dim=0)[:, None]
        centred = (described - means[labels]).double()
        self.means = torch.cat([self.means, means])
        self.scatter = self.scatter + (centred.T @ centred).float()
        self.count = self.count + len(described)
        self.refresh()

    def resize(self, classes: int) -> None:
        """Give every tensor the size that it has for so many classes, and no values."""
        super().resize(classes)
        self.means = self.means.new_zeros(classes, self.size)
        if self.wholeness is not None:
            self.wholeness.resize(classes)
        if self.settings.likelihood == "cosine":
            self.whitening = self.means.new_zeros(self.size, self.size)

    def refresh(self) -> None:
        """Turn means and scatter into the map that `log_likelihoods` applies, up to a term that all classes share."""
        degrees = max(1.0, float(self.count) - len(self.means))
        covariance = self.scatter.double() / degrees
        self.familiarity.refresh(self.means, covariance)
        scale = covariance.diagonal().clamp_min(1e-12).sqrt()
        correlation = covariance / scale / scale[:, None]
        share = self.settings.shrinkage
        correlation = (1 - share) * correlation + share * torch.eye(
            len(scale), dtype=torch.float64, device=scale.device
        )
        # From the middle of the classes, and less what all of them share.
        self.centre = self.means.mean(dim=0)
        means = (self.means.double() - self.centre) / scale
        if self.settings.likelihood == "cosine":
            self._compare_directions(means, correlation, scale)
            if self.wholeness is not None:
                self.wholeness.refresh(self.centre, self.whitening)
        else:
            self._compare_distances(means, correlation, scale)

    def _compare_distances(self, means: Tensor, correlation: Tensor, scale: Tensor) -> None:
        solved = torch.linalg.solve(correlation, means.T).T  # (C, S)
        bias = -0.5 * (solved * means).sum(dim=1)
        self.weight = ((solved - solved.mean(dim=0)) / scale).float()
        self.bias = (bias - bias.mean()).float()

    def _compare_directions(self, means: Tensor, correlation: Tensor, scale: Tensor) -> None:
        root = torch.linalg.cholesky(correlation)  # R = L Lᵀ, so L⁻¹ whitens
        whitening = torch.linalg.solve_triangular(root, torch.eye(len(scale)).to(root), upper=False).T
        self.whitening = (whitening / scale[:, None]).float()
        self.weight = (self.settings.concentration * F.normalize(means @ whitening, dim=-1)).float()
