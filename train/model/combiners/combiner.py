"""The seam between a head's experts and its decision."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stpr.runtime.contract.manifest import Score
from stpr.train.model.scores.statistics import ClipScores, ClipStatistics


class Combiner(nn.Module):
    """All of a head but its experts: turns their outputs for a clip into a decision over the classes seen so far.

    `statistics` scores a clip as a whole, where anything asks for it. `membership` `(C, E)` is one where a class was
    learnt in a stage, or with the one expert of a method that has a single one.
    """

    reads_unadapted = False  # whether it looks at frame features as they would be without adapters

    def __init__(self, statistics: ClipScores | None) -> None:
        super().__init__()
        self.statistics = statistics
        self.membership: Tensor
        self.register_buffer("membership", torch.zeros(0, 0), persistent=False)
        self.calibration: Tensor
        self.register_buffer("calibration", torch.zeros(2))  # mean power of e, and of how many stages

    @property
    def classes(self) -> int:
        """How many classes were learnt so far."""
        return len(self.membership)

    def add_classes(self, count: int, *, owner: int, vectors: Tensor | None = None) -> None:
        """Make room for `count` classes of the expert or stage `owner`, from 0; `vectors` `(count, D)`: their T_c."""
        del vectors
        columns = max(owner + 1, self.membership.shape[1])
        membership = F.pad(self.membership, (0, columns - self.membership.shape[1], 0, count))
        membership[-count:, owner] = 1
        self.membership = membership

    def forward(
        self, features: Tensor, outputs: Tensor, unadapted: Tensor | None = None, given: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits `(B, C)` and routing `(B, E)` of frame features `(B, T, D)` and experts' outputs `(B, E, D)`.

        `unadapted` are the features without adapters, where they differ; `given` `(B, E)` takes the router's place.
        """
        raise NotImplementedError

    def calibrate(self, power: float) -> None:
        """Take in by which power of e the temperature of scores should be higher, by the newest stage's clips."""
        mean, stages = self.calibration.tolist()
        self.calibration = self.calibration.new_tensor([(mean * stages + power) / (stages + 1), stages + 1])

    @property
    def softness(self) -> float:
        """The temperature of scores as a multiple of the recipe's."""
        return math.exp(float(self.calibration[0]))

    @property
    def heard(self) -> dict[str, float]:
        """How far each part of the decision is believed, in nats for a cosine of 1; empty where that is not learnt."""
        return {}

    @property
    def gives_evidence(self) -> bool:
        """Whether the statistics tell a whole action from a part of one, as events need it."""
        return isinstance(self.statistics, ClipStatistics) and self.statistics.tells_events

    def evidence(self, features: Tensor) -> Tensor:
        """Log odds `(B, C)` of one whole action of each class in clips `(B, T, D)`; where `gives_evidence` alone."""
        assert isinstance(self.statistics, ClipStatistics)
        return self.statistics.evidence(features)

    @property
    def score(self) -> Score:
        """What `familiarity` measures."""
        if not isinstance(self.statistics, ClipStatistics) or self.statistics.knows_by_direction:
            return "cosine"
        return "likelihood_ratio"

    def familiarity(self, features: Tensor, logits: Tensor) -> Tensor:
        """How well clips `(B, T, D)` fit the classes learnt so far: `(B,)`; the best logit without class Gaussians."""
        if not isinstance(self.statistics, ClipStatistics):
            return logits.amax(dim=1)
        return self.statistics.familiar(features)
