"""Learning without Forgetting (Li and Hoiem, 2016): fine-tuning with distillation from the previous network.

On the new clips, the posteriors over the old classes must stay close to those of the network before the stage.
Nothing is kept between stages except the network.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.nn import functional as F

from stpr.train.learning.fit import Criterion, Rows, Terms, Trainer
from stpr.train.learning.stage_clips import StageClips
from stpr.train.methods.finetune import plain_objective
from stpr.train.methods.heads import single_expert
from stpr.train.methods.method import Method
from stpr.train.methods.objective import Objective
from stpr.train.model.stpr import StPR
from stpr.train.settings.learning import LwfSettings
from stpr.train.settings.recipe import Recipe


def learn(model: StPR, clips: StageClips, recipe: Recipe, trainer: Trainer) -> list[Terms]:
    """Fine-tune the expert on this stage with distillation; returns the loss curves."""
    shared = {id(value): value for value in model.encoder.parameters() if not value.requires_grad}
    old = copy.deepcopy(model, shared).eval().requires_grad_(requires_grad=False)
    plain = plain_objective(model, clips, recipe)
    holds = old.head.classes > 0 and recipe.lwf.weight > 0
    return trainer.fit(Distilled(model, plain, old, recipe.lwf) if holds else plain, clips)


def distillation(logits: Tensor, old: Tensor, *, temperature: float) -> Tensor:
    """Distillation loss t² · KL(old || new posterior) per clip `(B,)`, from logits `(B, C)` at temperature t.

    The factor t² keeps the scale of the gradients (Hinton et al., 2015).
    """
    new_log, old_log = (torch.log_softmax(scores / temperature, dim=-1) for scores in (logits, old))
    return temperature**2 * F.kl_div(new_log, old_log, reduction="none", log_target=True).sum(dim=-1)


class Distilled(Criterion):
    """The plain objective plus distillation of the old network's posteriors over the old classes."""

    def __init__(self, model: StPR, plain: Objective, old: StPR, settings: LwfSettings) -> None:
        super().__init__()
        self.model = model
        self.plain = plain
        self.old = [old]  # in a list, so that the frozen copy is not registered as a submodule
        self.settings = settings
        self.scale = 1 / plain.contrast.settings.temperature  # cosines to logits, as in the contrastive loss

    def forward(self, inputs: Tensor, labels: Tensor) -> Rows:
        """The plain objective's rows for clips `(B, T, …)`, and each clip's distillation loss."""
        del labels
        features = self.model.encoder(inputs)
        with torch.no_grad():
            before, _ = self.old[0](inputs)
        now = self.model.head(features)[0][:, : before.shape[1]]
        held = distillation(self.scale * now, self.scale * before, temperature=self.settings.temperature)
        appearance = self.model.encoder.columns.appearance_of(features)
        return {**self.plain.contrasted(appearance), "distillation": self.settings.weight * held}

    def terms(self, rows: Rows, labels: Tensor) -> Rows:
        """The plain objective's terms, and the mean distillation loss."""
        return self.plain.terms(rows, labels)


METHOD = Method(learn=learn, head=single_expert)
