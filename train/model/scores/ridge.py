"""Ridge regression from random features of clips to classes, in closed form (RanPAC: McDonnell et al., 2023).

h = ReLU(description · projection), G = Σ h hᵀ, Q = Σ h yᵀ over one-hot labels y, W = (G + λI)⁻¹ Q. G and Q are sums
over clips: no single clip is stored, and the order of stages does not matter. The paper chooses λ on a split of the
newest stage's clips. Here λ minimises the generalised cross-validation error (Golub, Heath and Wahba, 1979), which
follows from G and Q for all clips so far: independent of order, without a split or a setting.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stpr.train.model.columns import Columns
from stpr.train.model.scores.class_scores import ClipScores
from stpr.train.model.scores.samples import Samples
from stpr.train.settings.model import RidgeSettings, StatisticsSettings

RIDGES = 10.0 ** torch.arange(-6.0, 2.1, 0.5, dtype=torch.float64)  # λ as shares of G's mean eigenvalue
SUREST = 0.01  # minimum error variance; scores are in about 0..1, so log-likelihoods stay below about 100


class RidgeScores(ClipScores):
    """Least-squares scores of every class seen so far, as log-likelihoods of one-hot labels under equal noise."""

    def __init__(self, frames: int, columns: Columns, settings: StatisticsSettings, ridge: RidgeSettings) -> None:
        super().__init__(frames, columns, settings)
        features = ridge.projection
        self.projection: Tensor
        self.gram: Tensor
        self.sums: Tensor
        self.count: Tensor
        self.chosen: Tensor
        # Stored although drawn from a seed, since another version of torch may draw other numbers.
        self.register_buffer("projection", torch.randn(self.size, features))
        # Random features have a large common part: in float32 its rounding would exceed a small λ.
        self.register_buffer("gram", torch.zeros(features, features, dtype=torch.float64))
        self.register_buffer("sums", torch.zeros(0, features, dtype=torch.float64))  # Qᵀ
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("chosen", torch.ones(2, dtype=torch.float64))  # λ, and a score's error variance

    def transform(self, described: Tensor) -> Tensor:
        """Random features `(B, M)` of descriptions `(B, S)`."""
        return torch.relu(described @ self.projection)

    def update(self, samples: Samples, classes: int) -> None:
        """Add the `classes` new classes of a stage."""
        lifted = self.transform(self.describe(samples.features)).double()
        one_hot = torch.nn.functional.one_hot(samples.labels, classes).to(lifted)
        self.gram = self.gram + lifted.T @ lifted
        self.sums = torch.cat([self.sums, one_hot.T @ lifted])
        self.count = self.count + len(lifted)
        self.chosen = choose(self.gram, self.sums, self.count)
        self.refresh()

    def resize(self, classes: int) -> None:
        """Resize every tensor for `classes` classes, without setting values."""
        super().resize(classes)
        self.sums = self.sums.new_zeros(classes, self.sums.shape[1])

    def _derive(self) -> None:
        """W for the chosen λ; scores are relative to those of the mean clip, to keep float32 precision."""
        ridge, variance = self.chosen.double()
        gram = self.gram.double() + ridge * torch.eye(len(self.gram), dtype=torch.float64, device=self.gram.device)
        weight = torch.linalg.solve(gram, self.sums.double().T).T / variance  # (C, M)
        centre = self.sums.double().sum(dim=0) / self.count.clamp_min(1)
        self.centre, self.weight, self.bias = centre.float(), weight.float(), (weight @ centre).float()


def choose(gram: Tensor, sums: Tensor, count: Tensor) -> Tensor:
    """λ with the lowest generalised cross-validation error, and that error per class: `(2,)`.

    n · RSS / (n - df)², with RSS and degrees of freedom df of all λ from one eigendecomposition of G.
    """
    values, directions = torch.linalg.eigh(gram)
    values = values.clamp_min(0)
    aligned = (sums @ directions).square().sum(dim=0)  # (M,)
    ridges = RIDGES.to(gram.device)[:, None] * values.mean()  # (L, 1)
    residual = count - (aligned * (values + 2 * ridges) / (values + ridges).square()).sum(dim=1)
    freedom = (values / (values + ridges)).sum(dim=1)
    error = count * residual.clamp_min(0) / (count - freedom).clamp_min(1e-9).square()
    best = error.argmin()
    return torch.stack([ridges[best, 0], (error[best] / len(sums)).clamp_min(SUREST)])
