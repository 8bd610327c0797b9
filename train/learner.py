"""The gradient steps of ONE stage: SGD on an objective, batch by batch (method §6)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from stpr.runtime.contract.errors import RecipeError
from stpr.train.config import OptimizerSettings
from stpr.train.data.inputs import StageInputs

Terms = dict[str, float]
OnEpoch = Callable[[int, int, Terms], None]  # epoch from 1, epochs in all, mean loss terms


@dataclass(frozen=True, slots=True)
class Fit:
    """How one stage is fitted."""

    epochs: int
    optimizer: OptimizerSettings
    seed: int
    accelerator: Accelerator
    on_epoch: OnEpoch


def fit(objective: nn.Module, inputs: StageInputs, how: Fit) -> list[Terms]:
    """Minimise the sum of the objective's terms over its trainable parameters; returns each epoch's mean terms.

    `objective(inputs, labels)` gives named scalar terms. One forward call holds the whole loss, so that several
    processes can synchronise their gradients.
    """
    settings, accelerator = how.optimizer, how.accelerator
    parameters = [value for value in objective.parameters() if value.requires_grad]
    optimizer = torch.optim.SGD(
        parameters, lr=settings.rate, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=how.epochs)
    prepared, stepper = accelerator.prepare(objective, optimizer)
    curves = []
    for epoch in range(how.epochs):
        prepared.train()
        sums: dict[str, Tensor] = {}
        clips = 0
        for batch, labels in inputs.epoch(epoch, batch=settings.batch, seed=how.seed * 100_003 + epoch):
            terms = prepared(batch.to(accelerator.device), labels.to(accelerator.device))
            accelerator.backward(torch.stack(list(terms.values())).sum())
            stepper.step()
            stepper.zero_grad()
            clips += len(labels)
            for name, term in terms.items():
                sums[name] = sums.get(name, torch.zeros(())) + term.detach().cpu() * len(labels)
        schedule.step()
        curves.append({name: float(total / clips) for name, total in sums.items()})
        _check_finite(curves[-1], epoch + 1, settings)
        how.on_epoch(epoch + 1, how.epochs, curves[-1])
    prepared.eval()
    return curves


def _check_finite(terms: Terms, epoch: int, settings: OptimizerSettings) -> None:
    lost = [name for name, value in terms.items() if not math.isfinite(value)]
    if lost:
        raise RecipeError(
            f"learning diverged in epoch {epoch}: {', '.join(lost)} is no longer a number;"
            f" lower [optimizer] rate ({settings.rate}) or [preservation] weight."
        )
