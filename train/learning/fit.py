"""SGD on a criterion over the clips of one stage (method §6)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from stpr.runtime.contract.errors import RecipeError
from stpr.train.learning.inputs import StageInputs
from stpr.train.learning.snapshot import FitState, Snapshots
from stpr.train.learning.stage_clips import StageClips
from stpr.train.settings.learning import OptimizerSettings

Terms = dict[str, float]
OnEpoch = Callable[[int, int, Terms], None]  # epoch from 1, number of epochs, mean loss terms
Rows = dict[str, Tensor]


class Criterion(nn.Module):
    """The loss of a stage, computed in two steps so that several processes can divide a batch.

    `forward(inputs, labels)` returns named rows, one per clip of this process's share; `terms` reduces the rows of the
    whole batch to named scalars. Everything that depends on the network belongs in `forward`.
    """

    def terms(self, rows: Rows, labels: Tensor) -> Rows:
        """Named, weighted loss terms from a batch's rows `(B, …)` and labels `(B,)`; by default the mean of each."""
        del labels
        return {name: row.mean() for name, row in rows.items()}


class Trainer(Protocol):
    """Minimises the criterion of one stage, with the stage's own seed."""

    @property
    def seed(self) -> int:
        """The seed of everything random in the stage."""

    def fit(self, criterion: Criterion, clips: StageClips) -> list[Terms]:
        """Minimise the sum of the criterion's terms over its trainable parameters; returns each epoch's mean terms."""


@dataclass(frozen=True, slots=True)
class Sgd:
    """Stochastic gradient descent with momentum and a cosine schedule to zero (method §6)."""

    epochs: int
    optimizer: OptimizerSettings
    seed: int
    on_epoch: OnEpoch
    snapshots: Snapshots | None = None

    def fit(self, criterion: Criterion, clips: StageClips) -> list[Terms]:
        """See `Trainer`; continues from the stage's snapshot if there is one."""
        curves = _fit(criterion, clips.inputs, self) if self.epochs else []
        clips.centre.encoder_changed()
        return curves


def _fit(criterion: Criterion, inputs: StageInputs, how: Sgd) -> list[Terms]:
    settings, processes = how.optimizer, inputs.processes
    if processes.index > 0:
        torch.manual_seed(how.seed + 1_000_003 * processes.index)  # dropout per process; the network is the same
    accelerator = new_accelerator(settings.precision, processes.device)
    parameters = {name: value for name, value in criterion.named_parameters() if value.requires_grad}
    optimizer = torch.optim.SGD(
        parameters.values(), lr=settings.rate, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
    prepared, stepper = accelerator.prepare(criterion, optimizer)
    state = FitState(parameters, optimizer, accelerator.scaler, processes)
    curves = how.snapshots.restore(state) if how.snapshots else []
    for number, terms in enumerate(curves, start=1):
        how.on_epoch(number, how.epochs, terms)
    for epoch in range(len(curves), how.epochs):
        for group in optimizer.param_groups:
            group["lr"] = 0.5 * settings.rate * (1 + math.cos(math.pi * epoch / how.epochs))
        curves.append(_epoch(_Step(accelerator, criterion, prepared, stepper), inputs, epoch, how))
        _check_finite(curves[-1], epoch + 1, settings)
        if how.snapshots:
            how.snapshots.epoch_ended(state, curves)
        how.on_epoch(epoch + 1, how.epochs, curves[-1])
    accelerator.unwrap_model(prepared, keep_fp32_wrapper=False).eval()
    if lost := [name for name, value in parameters.items() if not value.isfinite().all()]:
        raise _diverged(f"its last step: {lost[0]}", settings)
    return curves


def check_precision(precision: str, device: torch.device) -> None:
    """Raise RecipeError if the device does not support this precision."""
    if precision == "fp16" and device.type == "cpu":
        raise RecipeError('[optimizer] precision = "fp16" needs a GPU; use "bf16" or "fp32" on a CPU.')
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise RecipeError(
            f'[optimizer] precision = "bf16": {torch.cuda.get_device_name(device)} can\'t compute in it;'
            ' use "fp16" or "fp32".'
        )


@dataclass(frozen=True, slots=True)
class _Step:
    """One training step: forward on this process's share, loss of the whole batch, backward, optimizer step."""

    accelerator: Accelerator
    criterion: Criterion
    prepared: nn.Module  # the criterion, wrapped for mixed precision and gradient averaging over processes
    stepper: torch.optim.Optimizer

    def __call__(self, inputs: StageInputs, batch: Tensor, labels: Tensor, total: int) -> Rows:
        processes, device = inputs.processes, inputs.processes.device
        labels = labels.to(device)
        rows = self.prepared(batch.to(device), labels)
        whole = {name: processes.join(row, total) for name, row in rows.items()}
        terms = self.criterion.terms(whole, processes.join(labels, total))
        # Each process has a part of the gradient; accelerate averages them, but they must be summed.
        self.accelerator.backward(processes.count * torch.stack(list(terms.values())).sum())
        self.stepper.step()
        self.stepper.zero_grad()
        return {name: term.detach() for name, term in terms.items()}


def _epoch(step: _Step, inputs: StageInputs, epoch: int, how: Sgd) -> Terms:
    step.prepared.train()
    clips, size = len(inputs.labels), how.optimizer.batch
    sums: Rows = {}
    batches = inputs.epoch(epoch, batch=size, seed=how.seed * 100_003 + epoch)
    for start, (batch, labels) in zip(range(0, clips, size), batches, strict=True):
        total = min(size, clips - start)
        for name, term in step(inputs, batch, labels, total).items():
            sums[name] = sums.get(name, torch.zeros_like(term)) + term * total
    return {name: float(value / clips) for name, value in sums.items()}


def new_accelerator(precision: str, device: torch.device) -> Accelerator:
    """An Accelerator for forward and backward in this precision.

    Create a new one per stage: an old one keeps its models in memory and the last stage's fp16 loss scale.
    """
    return Accelerator(mixed_precision="no" if precision == "fp32" else precision, cpu=device.type == "cpu")


def _check_finite(terms: Terms, epoch: int, settings: OptimizerSettings) -> None:
    lost = [name for name, value in terms.items() if not math.isfinite(value)]
    if lost:
        raise _diverged(f"epoch {epoch}: {', '.join(lost)}", settings)


def _diverged(where: str, settings: OptimizerSettings) -> RecipeError:
    return RecipeError(
        f"training diverged in {where} is NaN or infinite;"
        f" lower [optimizer] rate ({settings.rate}) or [preservation] weight."
    )
