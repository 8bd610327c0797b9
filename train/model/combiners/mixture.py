"""TD-MoE in probabilities: class scores choose the stage, and its expert refines the choice among its classes.

p(c | clip) = r_k · softmax over the classes of c's stage k of (s_c + trust_k · cos(V^st_k, T_c)), with class scores s
and routing r_k = Σ softmax(s) over the classes of stage k. The trust in an expert is fitted on held-out clips, so a
useless expert does no harm; with zero trust the scores decide alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stpr.train.model.columns import Columns
from stpr.train.model.combiners.combiner import Combiner
from stpr.train.model.directions import unit
from stpr.train.model.scores.class_scores import ClipScores
from stpr.train.model.scores.reading import Reading

ELSEWHERE = 1e4  # nats by which classes of other stages are lowered


class Mixture(Combiner):
    """logits = temperature · ln p(class | clip), so that softmax(logits / temperature) is the posterior itself.

    Stores class vectors `(C, D)` and the trust in each expert; neither without experts.
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
    def decision_weights(self) -> dict[str, float]:
        """The learnt weights of the scores' views, and the trust in each stage's expert, by name."""
        experts = {f"expert of stage {stage}": trust for stage, trust in enumerate(self.trust.tolist(), start=1)}
        return {**self.statistics.decision_weights, **experts}

    def add_classes(self, count: int, *, owner: int, vectors: Tensor | None = None) -> None:
        """See `Combiner`; the trust in a new expert is 0."""
        super().add_classes(count, owner=owner)
        blank = self.class_vectors.new_zeros(count, self.class_vectors.shape[1])
        self.class_vectors = torch.cat([self.class_vectors, blank if vectors is None else vectors.to(blank)])
        self.trust = torch.cat([self.trust, self.trust.new_zeros(self.membership.shape[1] - len(self.trust))])

    def combine(
        self, clips: Reading, outputs: Tensor, unadapted: Tensor | None = None, given: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits `(B, C)` and routing `(B, E)`."""
        del unadapted
        scores = self.statistics.log_likelihoods(clips)
        routing = self._of_stages(torch.log_softmax(scores, dim=-1)) if given is None else given.clamp_min(1e-30).log()
        if outputs.shape[1]:
            trust = (self.membership * self.trust).sum(dim=1)  # some engines don't support matrix-vector products
            scores = scores + self.expert_scores(outputs) * trust
        inside = scores - self._of_stages(scores) @ self.membership.T
        return self.temperature * (inside + routing @ self.membership.T), routing.exp()

    def expert_scores(self, outputs: Tensor) -> Tensor:
        """The cosine of each class vector with the output of its stage's expert: `(B, E, D)` -> `(B, C)`."""
        cosines = unit(outputs) @ unit(self.class_vectors).T  # (B, E, C)
        return (cosines * self.membership.T).sum(dim=1)

    def _of_stages(self, scores: Tensor) -> Tensor:
        """Log-sum-exp over each stage's classes: `(B, C)` -> `(B, E)`."""
        return torch.logsumexp(scores[:, None] - ELSEWHERE * (1 - self.membership.T), dim=-1)
