"""TD-MoE's decision in probabilities: class scores choose the stage, its expert helps to choose among its classes.

p(c | clip) = r_k · softmax over the classes of c's stage k of (s_c + trust_k · cos(V^st_k, T_c)), with class scores s
and routing r_k = Σ softmax(s) over the classes of stage k. An expert is trusted as far as it proved itself on clips
that nothing was learnt from, so it can't cost what the scores already know; with no trust the scores decide alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stpr.train.model.columns import Columns
from stpr.train.model.combiners.combiner import Combiner
from stpr.train.model.directions import unit
from stpr.train.model.scores.statistics import ClipScores

ELSEWHERE = 1e4  # nats below any class of the stage itself


class Mixture(Combiner):
    """logits = temperature · ln p(class | clip), so that softmax(logits / temperature) is the posterior itself.

    What it keeps: class vectors `(C, D)` and a number for each expert; neither without experts.
    """

    def __init__(self, columns: Columns, statistics: ClipScores, *, temperature: float) -> None:
        super().__init__(statistics)
        self.statistics: ClipScores
        self.columns, self.temperature = columns, temperature
        self.class_vectors: Tensor
        self.trust: Tensor
        self.register_buffer("class_vectors", torch.zeros(0, columns.appearance))
        self.register_buffer("trust", torch.zeros(0))

    @property
    def heard(self) -> dict[str, float]:
        """The learnt weights of the scores' views, and the trust in each stage's expert, by name."""
        experts = {f"expert of stage {stage}": trust for stage, trust in enumerate(self.trust.tolist(), start=1)}
        return {**self.statistics.heard, **experts}

    def add_classes(self, count: int, *, owner: int, vectors: Tensor | None = None) -> None:
        """As every combiner; a new expert is not trusted yet."""
        super().add_classes(count, owner=owner)
        blank = self.class_vectors.new_zeros(count, self.class_vectors.shape[1])
        self.class_vectors = torch.cat([self.class_vectors, blank if vectors is None else vectors.to(blank)])
        self.trust = torch.cat([self.trust, self.trust.new_zeros(self.membership.shape[1] - len(self.trust))])

    def forward(
        self, features: Tensor, outputs: Tensor, unadapted: Tensor | None = None, given: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits `(B, C)` and routing `(B, E)`."""
        del unadapted
        scores = self.statistics.log_likelihoods(features)
        routing = self._of_stages(torch.log_softmax(scores, dim=-1)) if given is None else given.clamp_min(1e-30).log()
        if outputs.shape[1]:
            trust = (self.membership * self.trust).sum(dim=1)  # some engines take no product of a matrix with a vector
            scores = scores + self.said(outputs) * trust
        inside = scores - self._of_stages(scores) @ self.membership.T
        return self.temperature * (inside + routing @ self.membership.T), routing.exp()

    def said(self, outputs: Tensor) -> Tensor:
        """The cosine of each class with what the expert of its stage makes of a clip: `(B, E, D)` -> `(B, C)`."""
        cosines = unit(outputs) @ unit(self.class_vectors).T  # (B, E, C)
        return (cosines * self.membership.T).sum(dim=1)

    def _of_stages(self, scores: Tensor) -> Tensor:
        """Log of the summed exponentials of each stage's classes: `(B, C)` -> `(B, E)`."""
        return torch.logsumexp(scores[:, None] - ELSEWHERE * (1 - self.membership.T), dim=-1)
