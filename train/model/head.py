"""A head: experts (one per stage, a single one, or none) and the combiner that turns their outputs into logits."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from stpr.runtime.contract.errors import RecipeError
from stpr.train.model.columns import Columns
from stpr.train.model.combiners.combiner import Combiner
from stpr.train.model.experts import Expert
from stpr.train.settings.model import ExpertSettings


class Head(nn.Module):
    """Frame features `(B, T, D)` -> logits `(B, C)` and routing `(B, E)`, over all stages so far.

    `expert` are the settings of its experts, None for a combiner without experts.
    """

    def __init__(self, *, frames: int, columns: Columns, combiner: Combiner, expert: ExpertSettings | None) -> None:
        super().__init__()
        width = columns.appearance
        inner = expert.width_in(width) if expert else 0
        if expert and not expert.layers:
            raise RecipeError("[expert] layers = 0 leaves the method nothing to learn; use 1 or more layers.")
        if expert and inner % expert.heads:
            raise RecipeError(
                f"[expert] heads: {expert.heads} heads can't divide {inner} features equally;"
                f" use a number that divides {inner}."
            )
        self.frames, self.columns, self.form = frames, columns, expert
        self.experts = nn.ModuleList()
        self.combiner = combiner

    @property
    def classes(self) -> int:
        """The number of classes learnt so far."""
        return self.combiner.classes

    def add_stage(self, classes: int, vectors: Tensor | None = None) -> None:
        """Add a stage with `classes` new classes and these class vectors `(classes, D)`.

        With experts it adds a new one, `experts[-1]`, and freezes the old ones.
        """
        owner = self.combiner.membership.shape[1]
        if self.form:
            self.experts.requires_grad_(requires_grad=False)
            if len(self.experts) and self.form.start == "copy":
                expert = copy.deepcopy(self.experts[-1]).requires_grad_(requires_grad=True)
            else:
                expert = Expert(self.frames, self.columns.appearance, self.form)
            self.experts.append(expert.to(self.combiner.membership.device))
        self.combiner.add_classes(classes, owner=owner, vectors=vectors)

    def add_classes(self, classes: int, vectors: Tensor | None = None) -> None:
        """Add classes to the single expert, creating it at the first call."""
        if self.classes == 0:
            self.add_stage(classes, vectors)
        else:
            self.combiner.add_classes(classes, owner=0, vectors=vectors)

    def forward(self, features: Tensor, unadapted: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits `(B, C)` and routing `(B, E)`; `unadapted` are the features without adapters, if they differ."""
        logits, routing = self.combiner(features, self.ask(features), unadapted)
        return logits, routing

    def ask(self, features: Tensor) -> Tensor:
        """Every expert's output V^st_k: `(B, E, appearance)`; E is 0 without experts."""
        if not len(self.experts):
            return features.new_zeros(len(features), 0, self.columns.appearance)
        seen = self.columns.appearance_of(features)
        return torch.stack([expert(seen) for expert in self.experts], dim=1)
