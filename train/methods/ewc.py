"""Elastic Weight Consolidation (Kirkpatrick et al., 2017): fine-tuning that penalises changes of important parameters.

After a stage, the diagonal Fisher information of its contrastive loss is added to that of earlier stages (online EWC,
Schwarz et al., 2018, without decay); the next stage adds the penalty (weight / 2) · Σ F_i (Δθ_i)². Each stage's Fisher
is scaled to a maximum of 1 (as in Chaudhry et al., 2018): the gradients of a well-fitted stage vanish and its Fisher
with them, so no single weight would suit two stages. SGD is stable while rate · weight · stages < 2 (1 + momentum).
One number per trained parameter is stored, in `model.memory`; the parameters a stage starts from are the network's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from stpr.train.learning.fit import Criterion, Rows, Terms, Trainer
from stpr.train.learning.inputs import StageInputs
from stpr.train.learning.stage_clips import StageClips
from stpr.train.methods.finetune import plain_objective
from stpr.train.methods.heads import single_expert
from stpr.train.methods.method import Method
from stpr.train.methods.objective import Objective
from stpr.train.model.stpr import Memory, StPR
from stpr.train.settings.recipe import Recipe


def learn(model: StPR, clips: StageClips, recipe: Recipe, trainer: Trainer) -> list[Terms]:
    """Fine-tune the one expert on this stage under the penalty; returns the loss curves."""
    memory, first = model.memory, model.head.classes == 0
    assert isinstance(memory, FisherMemory)
    plain = plain_objective(model, clips, recipe)
    holds = not first and recipe.ewc.weight > 0
    curves = trainer.fit(EwcObjective(plain, memory.fisher, recipe.ewc.weight) if holds else plain, clips)
    memory.update(fisher(plain, clips.inputs))
    return curves


class FisherMemory(Memory):
    """The Fisher information of each trained parameter `(P,)`, summed over the stages so far."""

    def __init__(self) -> None:
        super().__init__()
        self.fisher: Tensor
        self.register_buffer("fisher", torch.zeros(0))

    def update(self, found: Tensor) -> None:
        """Add a stage's Fisher information, scaled so that its largest value is 1."""
        added = found / found.max().clamp_min(1e-30)
        self.fisher = self.fisher + added if len(self.fisher) else added

    def resize(self, model: StPR) -> None:
        """One number per parameter of the adapters and the expert."""
        trained = [*model.encoder.adapter_parameters(), *model.head.experts.parameters()]
        self.fisher = torch.zeros(sum(value.numel() for value in trained))


def fisher(objective: Objective, inputs: StageInputs) -> Tensor:
    """Mean over clips of the squared gradient of each trained parameter, at the true labels: `(P,)`.

    Computed clip by clip, because the squared mean gradient of a batch is not the mean of squared gradients.
    """
    objective.eval()
    parameters = _trained(objective)
    total = torch.zeros_like(parameters_to_vector(parameters)).detach()
    processes, clips = inputs.processes, len(inputs.labels)
    for clip, label in zip(inputs.centre(batch=1), processes.share(inputs.labels), strict=True):
        place = label[None].to(total.device)
        terms = objective.terms(objective(clip.to(total.device), place), place)
        slopes = torch.autograd.grad(torch.stack(list(terms.values())).sum(), parameters, materialize_grads=True)
        total += parameters_to_vector(slopes).square()
    if processes.own(clips) == 0:
        total.zero_()  # this process only had a placeholder clip
    return processes.join(total[None], processes.count).sum(dim=0) / clips


class EwcObjective(Criterion):
    """The plain objective plus the EWC penalty for moving away from the parameters at the stage's start."""

    def __init__(self, plain: Objective, importance: Tensor, weight: float) -> None:
        super().__init__()
        self.plain = plain
        self.weight = weight
        self.importance: Tensor
        self.start: Tensor
        self.register_buffer("importance", importance, persistent=False)
        self.register_buffer("start", parameters_to_vector(_trained(plain)).detach().clone(), persistent=False)

    def forward(self, inputs: Tensor, labels: Tensor) -> Rows:
        """The plain objective's rows for clips `(B, T, …)`, and the penalty (equal for all clips) in every row."""
        moved = parameters_to_vector(_trained(self.plain)) - self.start
        held = 0.5 * self.weight * (self.importance * moved.square()).sum()
        return {**self.plain(inputs, labels), "penalty": held.expand(len(labels))}

    def terms(self, rows: Rows, labels: Tensor) -> Rows:
        """The plain objective's terms, and the mean of the penalty's rows."""
        return self.plain.terms(rows, labels)


def _trained(objective: Objective) -> list[nn.Parameter]:
    """The parameters that a stage trains, in the same order in every stage."""
    return [value for value in objective.parameters() if value.requires_grad]


METHOD = Method(learn=learn, head=single_expert, memory=lambda _: FisherMemory())
