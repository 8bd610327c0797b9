"""Measure how long a unit of work takes on this machine (a few seconds)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import accelerate
import msgspec
import torch

from stpr.runtime.contract.errors import RecipeError
from stpr.train.data.clips import load_draws
from stpr.train.learning.distributed import Processes
from stpr.train.learning.fit import Criterion, Terms, check_precision, new_accelerator
from stpr.train.learning.frozen_pass import frozen_pass
from stpr.train.learning.inputs import FrozenFeatures
from stpr.train.learning.stage_clips import StageClips
from stpr.train.methods import method_of
from stpr.train.model.stpr import StPR
from stpr.train.settings.learning import OptimizerSettings
from stpr.train.settings.recipe import Recipe

ENOUGH_SECONDS: Final = 1.0  # to spend on measuring each rate
ENOUGH_RUNS: Final = 20
CPU_BATCH: Final = 2  # clips per measured step on a CPU, where time is proportional to the batch size


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds per frame through the backbone, per clip in a training step, and per decoded video, on one device."""

    device: str
    encode: float
    learn: float
    decode: float | None  # by one worker; None without a video to measure


def measure(recipe: Recipe, model: StPR, video: Path | None) -> Rates:
    """Time a few batches on the device that a run would use. Changes the model. Raises RecipeError if they don't fit.

    The weights don't matter, so a random network of the same form may replace one that is not available.
    """
    device, sampling = accelerate.PartialState().device, recipe.sampling
    check_precision(recipe.optimizer.precision, device)
    encoder, upstream = model.encoder, model.encoder.upstream_trains
    model.to(device)
    slow = device.type == "cpu"
    size = min(CPU_BATCH, recipe.optimizer.batch) if upstream and slow else recipe.optimizer.batch
    seen = size if upstream else 1 if slow else 1 + sampling.draws  # clips per backbone call
    shape = (seen, sampling.frames, *encoder.pixels.shape)
    frames = torch.randint(256, shape, dtype=torch.uint8, device=device)
    features = torch.randn(size, sampling.frames, encoder.frozen_width, device=device)
    seen_first = (frames if upstream else features)[:, None]
    inputs = FrozenFeatures(seen_first, torch.arange(size) % 2, Processes(device=device))

    def encode() -> None:
        if upstream:
            with torch.no_grad():
                encoder.frozen(frames)
        else:
            frozen_pass(encoder)(encoder, frames)

    try:
        if not upstream:
            frozen_pass(encoder)(encoder, frames[:1, :1])  # opening it takes a second, once
        pace = _seconds(encode, device) / (seen * sampling.frames), _step_seconds(recipe, model, inputs) / size
    except torch.OutOfMemoryError as error:
        raise RecipeError(
            f"[optimizer] batch: {size} clips of {sampling.frames} frames don't fit into {_name(device)}; lower it, or"
            " add --set optimizer.precision=bf16."
        ) from error
    return Rates(_name(device), *pace, None if video is None else _decode(recipe, model, video))


def _step_seconds(recipe: Recipe, model: StPR, inputs: FrozenFeatures) -> float:
    """Seconds of one training step of the recipe's method, in a first stage of two classes; 0 if it takes no steps."""
    clips, trainer = StageClips(("a", "b"), inputs, model.encoder), _TimedTraining(recipe.optimizer)
    codes = msgspec.structs.replace(recipe.class_vectors, kind="codes")  # a training step doesn't use the text tower
    method_of(recipe).learn(model, clips, msgspec.structs.replace(recipe, class_vectors=codes), trainer)
    return trainer.seconds


class _TimedTraining:
    """A trainer that takes a few steps on all clips at once and records only how long a step takes."""

    seed = 0

    def __init__(self, settings: OptimizerSettings) -> None:
        self.settings = settings
        self.seconds = 0.0

    def fit(self, criterion: Criterion, clips: StageClips) -> list[Terms]:
        """See `Trainer.fit`."""
        settings, device = self.settings, clips.inputs.processes.device
        accelerator = new_accelerator(settings.precision, device)
        parameters = [value for value in criterion.parameters() if value.requires_grad]
        optimizer = torch.optim.SGD(parameters, lr=settings.rate, momentum=settings.momentum)
        prepared, stepper = accelerator.prepare(criterion, optimizer)
        count = len(clips.inputs.labels)
        batch, labels = next(clips.inputs.epoch(0, batch=count, seed=0))
        batch, labels = batch.to(device), labels.to(device)

        def step() -> None:
            terms = criterion.terms(prepared(batch, labels), labels)
            accelerator.backward(torch.stack(list(terms.values())).sum())
            stepper.step()
            stepper.zero_grad()

        self.seconds = _seconds(step, device)
        return []


def _decode(recipe: Recipe, model: StPR, video: Path) -> float:
    sampling, spec = recipe.sampling, model.encoder.pixels
    draws = 1 if model.encoder.upstream_trains else sampling.draws

    def load() -> None:
        load_draws(video, draws=draws, spec=spec, sampling=sampling, seed=0)

    return _seconds(load, torch.device("cpu"))


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Mean seconds per call over at most a second, after a warm-up call.

    On a CPU the warm-up counts if it took that long; on a GPU it loads kernels for seconds, which later calls do not.
    """

    def run() -> float:
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    if (first := run()) > ENOUGH_SECONDS and device.type == "cpu":
        return first
    taken = [run()]
    while sum(taken) < ENOUGH_SECONDS and len(taken) < ENOUGH_RUNS:
        taken.append(run())
    return sum(taken) / len(taken)


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} thread{'s'[: torch.get_num_threads() > 1]}"
