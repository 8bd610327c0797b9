"""The base class of combiners, which turn the experts' outputs into logits and routing."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stpr.runtime.contract.manifest import Score
from stpr.train.model.scores.class_scores import ClipScores
from stpr.train.model.scores.reading import Reading
from stpr.train.model.scores.statistics import ClipStatistics


class Combiner(nn.Module):
    """All of a head except its experts: turns their outputs for a clip into logits over the classes seen so far.

    `statistics` computes class scores from clip statistics, if any setting needs them. `membership` `(C, E)` is 1 if
    the class was learnt in the stage, or with the single expert.
    """

    reads_unadapted = False  # whether it needs frame features without adapters

    def __init__(self, statistics: ClipScores | None) -> None:
        super().__init__()
        self.statistics = statistics
        self.membership: Tensor
        self.register_buffer("membership", torch.zeros(0, 0), persistent=False)
        self.calibration: Tensor
        self.register_buffer("calibration", torch.zeros(2))  # mean log temperature factor, number of stages in it

    @property
    def classes(self) -> int:
        """The number of classes learnt so far."""
        return len(self.membership)

    def add_classes(self, count: int, *, owner: int, vectors: Tensor | None = None) -> None:
        """Add `count` classes to the expert or stage `owner` (from 0), with class vectors `(count, D)`."""
        del vectors
        columns = max(owner + 1, self.membership.shape[1])
        membership = F.pad(self.membership, (0, columns - self.membership.shape[1], 0, count))
        membership[-count:, owner] = 1
        self.membership = membership

    def read(self, features: Tensor) -> Reading:
        """Frame features of clips `(B, T, D)`, in the form that the methods below take."""
        return Reading(features) if self.statistics is None else self.statistics.read(features)

    def forward(
        self, features: Tensor, outputs: Tensor, unadapted: Tensor | None = None, given: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `combine`, for frame features `(B, T, D)` that nothing else is computed of."""
        return self.combine(self.read(features), outputs, unadapted, given)

    def combine(
        self, clips: Reading, outputs: Tensor, unadapted: Tensor | None = None, given: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits `(B, C)` and routing `(B, E)` of clips, given the experts' outputs `(B, E, D)`.

        `unadapted` are the features without adapters, if they differ; `given` `(B, E)` replaces the router's weights.
        """
        raise NotImplementedError

    def calibrate(self, power: float) -> None:
        """Add the log temperature factor that fits the newest stage's clips to the mean over stages."""
        mean, stages = self.calibration.tolist()
        self.calibration = self.calibration.new_tensor([(mean * stages + power) / (stages + 1), stages + 1])

    @property
    def temperature_factor(self) -> float:
        """The calibrated temperature of scores, as a multiple of the recipe's."""
        return math.exp(float(self.calibration[0]))

    @property
    def decision_weights(self) -> dict[str, float]:
        """The learnt weight of each part of the decision, in nats for a cosine of 1; empty if not learnt."""
        return {}

    @property
    def gives_evidence(self) -> bool:
        """Whether the statistics distinguish a whole action from a fragment, which events need."""
        return isinstance(self.statistics, ClipStatistics) and self.statistics.tells_events

    @property
    def moving(self) -> tuple[bool, ...]:
        """Which classes, in logit order, evidence recognises by how they move; none without evidence."""
        if not isinstance(self.statistics, ClipStatistics) or not self.gives_evidence:
            return (False,) * self.classes
        return self.statistics.moving

    @property
    def symmetric(self) -> tuple[bool, ...] | None:
        """Of which classes, in logit order, mirror images count as well; None if they never do."""
        if not isinstance(self.statistics, ClipStatistics) or not self.statistics.settings.mirror:
            return None
        return tuple(self.statistics.symmetric.tolist())

    def evidence(self, clips: Reading) -> Tensor:
        """Log odds `(B, C)` of one whole action of each class; only if `gives_evidence`."""
        assert isinstance(self.statistics, ClipStatistics)
        return self.statistics.evidence(clips)

    @property
    def score(self) -> Score:
        """The kind of score that `familiarity` returns."""
        if not isinstance(self.statistics, ClipStatistics) or self.statistics.knows_by_direction:
            return "cosine"
        return "likelihood_ratio"

    def familiarity(self, clips: Reading, logits: Tensor) -> Tensor:
        """How well clips fit the classes learnt so far: `(B,)`; without statistics the largest logit."""
        if not isinstance(self.statistics, ClipStatistics):
            return logits.amax(dim=1)
        return self.statistics.familiar(clips)
