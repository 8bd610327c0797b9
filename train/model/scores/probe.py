"""Multinomial logistic regression on clip statistics: a linear probe of the features, fitted to all classes at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from stpr.train.model.scores.statistics import ClipScores
from stpr.train.settings.model import ProbeSettings, StatisticsSettings

STEPS = 500


class LinearProbe(ClipScores):
    """The affine map itself is what is kept."""

    def __init__(self, frames: int, width: int, settings: StatisticsSettings, probe: ProbeSettings) -> None:
        super().__init__(frames, width, settings)
        self.probe = probe
        for name in ("centre", "weight", "bias"):
            self.register_buffer(name, self.get_buffer(name), persistent=True)

    @torch.enable_grad()
    def update(self, described: Tensor, labels: Tensor, classes: int) -> None:
        """Fit to `described` `(n, S)` and `labels` `(n,)` of all `classes` so far; what was known is forgotten."""
        centre, scale = described.double().mean(dim=0), described.double().std(dim=0, correction=0).clamp_min(1e-6)
        weight, bias = fit_logistic((described - centre) / scale, labels, classes, decay=self.probe.decay)
        self.centre, self.weight, self.bias = centre.float(), (weight / scale).float(), bias.float()

    def refresh(self) -> None:
        """Nothing is derived."""


def fit_logistic(features: Tensor, labels: Tensor, classes: int, *, decay: float) -> tuple[Tensor, Tensor]:
    """Weight `(C, S)` and bias `(C,)` of the least mean cross-entropy + decay / 2 · |weight|²: convex, so there is one.

    Full batches from zero, so the same clips give the same bits; `features` `(n, S)` are float64 and standardised.
    """
    weight = features.new_zeros(classes, features.shape[1], requires_grad=True)
    bias = features.new_zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=STEPS, history_size=20, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(features @ weight.T + bias, labels) + decay / 2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()
