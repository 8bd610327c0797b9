"""What a run will cost: work counted from its recipe and clips, rates measured on this machine, bytes from shapes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

import accelerate
import torch
from torch.nn import functional as F

from stpr.runtime.contract.errors import RecipeError
from stpr.train.data.clips import load_draws
from stpr.train.data.stages import Stage
from stpr.train.estimate.footprint import stage_sizes
from stpr.train.methods.stpr import Objective
from stpr.train.model.encoder import FrameEncoder
from stpr.train.model.stpr import StPR
from stpr.train.settings.recipe import SCORED, Recipe

UNTRAINED: Final = ("nearest_mean", *SCORED)  # methods that take no steps of learning
ENOUGH_SECONDS: Final = 1.0  # of measuring, per rate
ENOUGH_RUNS: Final = 20
CPU_BATCH: Final = 2  # clips of a step measured on a CPU, where time grows evenly with the batch


@dataclass(frozen=True, slots=True)
class Clips:
    """How many videos a stage is learnt from and tested on, and how many those of the stages before it are.

    Earlier training videos count where a method keeps them.
    """

    train: int
    test: int
    earlier: int  # test videos
    revisited: int = 0  # training videos


@dataclass(frozen=True, slots=True)
class Work:
    """Videos decoded, frames through the backbone without a gradient, clips through a step of learning."""

    decoded: int = 0
    encoded: int = 0
    learnt: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(*map(sum, zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds on one device: of a frame through the backbone, of a clip through a step, of decoding a video."""

    device: str
    encode: float
    learn: float
    decode: float | None  # on one of the recipe's workers; None without a video to measure


def work_of(recipe: Recipe, stages: Sequence[tuple[Stage, Clips]]) -> Work:
    """All work of these stages; only the span of the training clips and the experts' part of a test are left out."""
    return sum((_stage_work(recipe, *stage, fresh=n == 0) for n, stage in enumerate(stages)), Work())


def _stage_work(recipe: Recipe, stage: Stage, clips: Clips, *, fresh: bool) -> Work:
    settings, frames, later = recipe.optimizer, recipe.sampling.frames, stage.index > 1
    epochs = settings.epochs_later if later and not recipe.revisits else settings.epochs_first
    epochs = epochs if _trains(recipe) else 0
    again = clips.revisited if recipe.revisits else 0
    if recipe.adapter.place != "blocks":  # encoded once; earlier test clips too where a run is taken up
        read = clips.train + (again if fresh else 0)
        tests = clips.test + (clips.earlier if fresh else 0)
        encoded = read * (1 + recipe.sampling.draws) + tests
        return Work(read + tests, frames * encoded, (clips.train + again) * epochs)
    train = clips.train + again
    tests, passes = clips.test + clips.earlier, _passes(recipe, stage.index)
    fisher = recipe.method == "ewc"
    watched = epochs if later and _holds(recipe) else 0  # the network before the stage looks at every step's clips
    return Work(
        train * (passes + epochs + fisher) + tests,
        frames * (train * (passes + watched) + tests * (1 + _looks_twice(recipe))),
        train * (epochs + fisher),
    )


def _trains(recipe: Recipe) -> bool:
    return recipe.method not in UNTRAINED and (recipe.method != "spatial" or recipe.adapter.place != "none")


def _passes(recipe: Recipe, index: int) -> int:
    """How often a stage's centre views go through an encoder with adapters in its blocks, besides the epochs."""
    learns = recipe.method in ("stpr", "spatial")
    scored = recipe.method in SCORED
    first = index == 1 or recipe.revisits
    return sum(
        (
            recipe.method not in ("nearest_mean", "spatial"),  # anchors and statistics
            _looks_twice(recipe),
            recipe.method == "nearest_mean" or (recipe.class_vectors.kind == "prototypes" and not scored),
            first and recipe.backbone.projection > 0,
            learns and index > 1 and recipe.preservation.weight > 0 and recipe.preservation.classes == "new",
            learns and recipe.preservation.classes == "old",
        )
    )


def _looks_twice(recipe: Recipe) -> bool:
    """Whether the router wants frame features without adapters as well."""
    return recipe.method == "stpr" and recipe.router.kind == "clip_key"


def _holds(recipe: Recipe) -> bool:
    held = recipe.preservation.weight
    weights = {"stpr": held, "spatial": held, "lwf": recipe.lwf.weight}
    return weights.get(recipe.method, 0.0) > 0


def measure(recipe: Recipe, model: StPR, video: Path | None) -> Rates:
    """Time a few batches on the device that a run would take; the model is used up. Raises RecipeError if one is full.

    The weights don't matter, so a network of the same form may stand in for one that is not at hand.
    """
    accelerator, sampling = accelerate.Accelerator(), recipe.sampling
    device, spec, upstream = accelerator.device, model.encoder.backbone.spec, model.encoder.upstream_trains
    model.to(device)
    slow = device.type == "cpu"
    size = min(CPU_BATCH, recipe.optimizer.batch) if upstream and slow else recipe.optimizer.batch
    seen = size if upstream else 1 if slow else 1 + sampling.draws  # clips that go through the backbone at once
    shape = (seen, sampling.frames, spec.height, spec.width, 3)
    frames = torch.randint(256, shape, dtype=torch.uint8, device=device)
    features = torch.randn(size, sampling.frames, model.encoder.backbone.width, device=device)
    step = _step(recipe, model, frames if upstream else features, accelerator)

    def encode() -> None:
        with torch.no_grad():
            model.encoder.frozen(frames)

    try:
        pace = _seconds(encode, device) / (seen * sampling.frames), _seconds(step, device) / size
    except torch.OutOfMemoryError as error:
        raise RecipeError(
            f"[optimizer] batch: {size} clips of {sampling.frames} frames don't fit into {_name(device)}; lower it, or"
            " add --set optimizer.precision=bf16."
        ) from error
    return Rates(_name(device), *pace, None if video is None else _decode(recipe, model, video))


def _step(recipe: Recipe, model: StPR, clips: torch.Tensor, accelerator: accelerate.Accelerator) -> Callable[[], None]:
    """One step of learning a first stage of two classes, as the learner does it."""
    expert = model.head.add_stage(F.normalize(torch.randn(2, model.head.width), dim=-1))
    objective = Objective(model.encoder, expert, model.head.class_vectors, recipe, offset=0, teacher=None)
    parameters = [value for value in objective.parameters() if value.requires_grad]
    if not _trains(recipe) or not parameters:
        return lambda: None
    settings = recipe.optimizer
    optimizer = torch.optim.SGD(parameters, lr=settings.rate, momentum=settings.momentum)
    prepared, stepper = accelerator.prepare(objective, optimizer)
    labels = torch.arange(len(clips), device=clips.device) % 2

    def step() -> None:
        accelerator.backward(torch.stack(list(prepared(clips, labels).values())).sum())
        stepper.step()
        stepper.zero_grad()

    return step


def _decode(recipe: Recipe, model: StPR, video: Path) -> float:
    sampling, spec = recipe.sampling, model.encoder.backbone.spec
    draws = 1 if model.encoder.upstream_trains else sampling.draws

    def load() -> None:
        load_draws(video, draws=draws, frames=sampling.frames, spec=spec, augment=sampling.augment, seed=0)

    return _seconds(load, torch.device("cpu"))


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call: a mean over a second at most, after one call that only warms up unless it took as long."""

    def run() -> float:
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    if (first := run()) > ENOUGH_SECONDS:
        return first
    taken = [run()]
    while sum(taken) < ENOUGH_SECONDS and len(taken) < ENOUGH_RUNS:
        taken.append(run())
    return sum(taken) / len(taken)


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} thread{'s'[: torch.get_num_threads() > 1]}"


def checkpoint_bytes(recipe: Recipe, encoder: FrameEncoder, stages: Sequence[Stage]) -> list[int]:
    """Size of the tensors of each stage's checkpoint, exactly, from shapes alone."""
    sizes = stage_sizes(encoder, recipe, [len(stage.classes) for stage in stages])
    return [sum(size.bytes.values()) for size in sizes]
