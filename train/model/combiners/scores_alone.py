"""The combiner that uses class scores only, without experts: streaming LDA, RanPAC, linear probe."""

from __future__ import annotations

import torch
from torch import Tensor

from stpr.train.model.combiners.combiner import Combiner
from stpr.train.model.scores.class_scores import ClipScores
from stpr.train.model.scores.reading import Reading


class ScoresAlone(Combiner):
    """logits = temperature · ln p(class | clip), so that softmax(logits / temperature) is the posterior itself.

    Routing is the posterior of each stage, summed over its classes.
    """

    def __init__(self, statistics: ClipScores, *, temperature: float) -> None:
        super().__init__(statistics)
        self.statistics: ClipScores
        self.temperature = temperature

    def combine(
        self, clips: Reading, outputs: Tensor, unadapted: Tensor | None = None, given: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits `(B, C)` and routing `(B, E)`; without experts `outputs` is empty."""
        del outputs, unadapted, given
        log_posterior = torch.log_softmax(self.statistics.log_likelihoods(clips), dim=-1)
        return self.temperature * log_posterior, log_posterior.exp() @ self.membership
