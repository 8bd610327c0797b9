"""Multinomial logistic regression on clip statistics: a linear probe, fitted to all classes at once."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from stpr.train.model.columns import Columns
from stpr.train.model.scores.class_scores import ClipScores
from stpr.train.model.scores.samples import Samples
from stpr.train.settings.model import ProbeSettings, StatisticsSettings

MOST_STEPS: Final = 1000
TOLERANCE: Final = 1e-8  # largest gradient of the mean loss at which the fit stops


class LinearProbe(ClipScores):
    """Stores the affine map itself, not statistics to derive it from."""

    def __init__(self, frames: int, columns: Columns, settings: StatisticsSettings, probe: ProbeSettings) -> None:
        super().__init__(frames, columns, settings)
        self.probe = probe
        for name in ("centre", "weight", "bias"):
            self.register_buffer(name, self.get_buffer(name), persistent=True)

    def update(self, samples: Samples, classes: int) -> None:
        """Fit to samples of all `classes` so far, replacing an earlier fit."""
        described = self.describe(samples.features)
        centre, scale = described.double().mean(dim=0), described.double().std(dim=0, correction=0).clamp_min(1e-6)
        weight, bias = fit_logistic((described - centre) / scale, samples.labels, classes, decay=self.probe.decay)
        self.centre, self.weight, self.bias = centre.float(), (weight / scale).float(), bias.float()

    def _derive(self) -> None:
        """Nothing to derive: the map is stored."""


def fit_logistic(features: Tensor, labels: Tensor, classes: int, *, decay: float) -> tuple[Tensor, Tensor]:
    """Weight `(C, S)` and bias `(C,)` that minimise mean cross-entropy + decay / 2 · |weight|² (convex, so unique).

    `features` `(n, S)` are float64 and standardised; every class has a clip. L-BFGS from zero is deterministic.
    """
    from sklearn.linear_model import LogisticRegression  # imported late: takes a second, for this method only

    if classes == 1:
        return features.new_zeros(1, features.shape[1]), features.new_zeros(1)
    # For two classes scikit-learn fits one vector v, their difference: |v/2|² + |-v/2|² is half of |v|².
    penalty = decay / 2 if classes == 2 else decay
    model = LogisticRegression(C=1 / (len(labels) * penalty), tol=TOLERANCE, max_iter=MOST_STEPS)
    model.fit(features.cpu().numpy(), labels.cpu().numpy())
    weight, bias = model.coef_, model.intercept_
    if classes == 2:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    # With a fixed memory layout, or a reloaded map would round differently.
    return torch.from_numpy(np.ascontiguousarray(weight)).to(features), torch.from_numpy(bias).to(features)
