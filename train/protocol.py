"""The loop over stages, as in the paper: learn a stage, forget its videos, test on every class seen so far."""

from __future__ import annotations

import csv
import io
import platform
import shlex
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import accelerate
import numpy as np
import torch

from stpr.runtime.contract.errors import RecipeError
from stpr.runtime.contract.sampling import ClipSpec
from stpr.train.checkpoint import RECIPE, BackboneRecord, StageRecord, build_model, load_stage, save_stage
from stpr.train.config import Recipe, write_recipe
from stpr.train.data.annotations import Video
from stpr.train.data.cache import FeatureCache
from stpr.train.data.clips import median_span
from stpr.train.data.inputs import PixelClips, StageInputs, encode_frozen
from stpr.train.data.lists import joined_lists, list_digests
from stpr.train.data.stages import Stage
from stpr.train.learner import Fit, Terms
from stpr.train.methods import METHODS
from stpr.train.metrics import (
    Metrics,
    accuracy_row,
    average_incremental,
    backward_forgetting,
    confusion,
    seen_accuracy,
    write_metrics,
)
from stpr.train.model.stpr import StPR
from stpr.train.resume import Past

TEST_BATCH = 64


class Progress(Protocol):
    """Whoever shows how far a run is."""

    def encoding(self, what: str, done: int, total: int) -> None:
        """`done` of `total` clips were decoded and encoded."""

    def epoch(self, stage: int, number: int, total: int, terms: Terms) -> None:
        """An epoch of a stage ended with these mean loss terms."""

    def tested(self, metrics: Metrics) -> None:
        """A stage was learnt and tested; the figures are those after it."""


@dataclass(slots=True)
class Tested:
    """Predictions for what test clips there are of the stages seen so far, in order of stage and path."""

    videos: list[Video]
    labels: np.ndarray[tuple[int], np.dtype[np.int64]]
    stages: np.ndarray[tuple[int], np.dtype[np.int64]]  # the stage each label belongs to, from 1
    predicted: np.ndarray[tuple[int], np.dtype[np.int64]]
    routing: np.ndarray[tuple[int, int], np.dtype[np.float32]]  # (n, E)

    def routing_of(self, stage: int) -> list[float] | None:
        """The mean weight that the stage's clips give to each expert; None without clips."""
        weights = self.routing[self.stages == stage]
        return weights.mean(axis=0).tolist() if len(weights) else None


@dataclass(slots=True)
class Run:
    """One run of a recipe over its stages."""

    recipe: Recipe
    stages: list[Stage]
    videos: list[Video]
    out: Path
    progress: Progress
    model: StPR
    accelerator: accelerate.Accelerator
    span: float
    metrics: Metrics | None = None  # of the stages learnt so far
    lists: dict[str, str] = field(default_factory=dict)  # list file -> SHA-256
    tests: dict[int, StageInputs] = field(default_factory=dict)
    cache: FeatureCache | None = None
    notes: dict[str, str] = field(default_factory=dict)  # what else belongs into the environment of the figures

    @property
    def classes(self) -> list[str]:
        """All classes in learning order."""
        return [name for stage in self.stages for name in stage.classes]

    def videos_of(self, stage: Stage, split: str) -> list[Video]:
        """The stage's videos of a split, sorted by path."""
        return [video for video in self.videos if video.split == split and video.label in stage.classes]

    def inputs(self, stage: Stage, split: str) -> StageInputs:
        """The stage's clips, encoded once if nothing upstream of the adapters trains."""
        videos = self.videos_of(stage, split)
        order = {name: position for position, name in enumerate(self.classes)}
        labels = torch.tensor([order[video.label] for video in videos])
        encoder, sampling, seed = self.model.encoder, self.recipe.sampling, self.recipe.seed
        clips = PixelClips(videos, labels, spec=encoder.backbone.spec, sampling=sampling, seed=seed)
        if encoder.upstream_trains:
            return clips
        what = f"stage {stage.index} {split}"
        return encode_frozen(
            clips,
            encoder,
            draws=sampling.draws if split == "train" else 0,
            advance=lambda done: self.progress.encoding(what, done, len(videos)),
            cache=self.cache,
        )


def run_protocol(run: Run, *, last: int) -> Metrics:
    """Learn the stages in order up to `last`; after each, test, save a checkpoint and rewrite `metrics.json`."""
    done = len(run.metrics.stages) if run.metrics else 0
    if done < last:
        _begin(run)
    for stage in run.stages[done:last]:
        started = time.monotonic()
        inputs = run.inputs(stage, "train")
        curves = METHODS[run.recipe.method](run.model, stage.classes, inputs, run.recipe, _fit(run, stage))
        del inputs  # from here on nothing of the stage's videos is left but the model's tensors
        tested = test(run, upto=stage)
        save_stage(run.out, run.model, _record(run, stage), _predictions(run, tested))
        run.metrics = _metrics(run, tested, curves, time.monotonic() - started)
        write_metrics(run.out, run.metrics)
        run.progress.tested(run.metrics)
    assert run.metrics is not None
    return run.metrics


@torch.no_grad()
def test(run: Run, *, upto: Stage) -> Tested:
    """Classify what test clips there are of every stage up to `upto`, all classes seen competing, without a task id."""
    model = run.model.eval()
    seen = [stage for stage in run.stages[: upto.index] if run.videos_of(stage, "test")]
    predicted, routing, labels, stages = [], [], [], []
    for stage in seen:
        if stage.index not in run.tests:
            run.tests[stage.index] = run.inputs(stage, "test")
        inputs = run.tests[stage.index]
        for batch in inputs.centre(batch=TEST_BATCH):
            logits, weights = model(batch.to(run.accelerator.device))
            predicted.append(logits.argmax(dim=1).cpu().numpy())
            routing.append(weights.cpu().numpy())
        labels.append(inputs.labels.numpy())
        stages.append(np.full(len(inputs.labels), stage.index))
    return Tested(
        videos=[video for stage in seen for video in run.videos_of(stage, "test")],
        labels=np.concatenate(labels),
        stages=np.concatenate(stages),
        predicted=np.concatenate(predicted),
        routing=np.concatenate(routing),
    )


def prepare(
    recipe: Recipe, videos: list[Video], stages: list[Stage], *, out: Path, progress: Progress, past: Past | None = None
) -> Run:
    """Build the network, or load what it had learnt, and gather what a run needs; nothing new is learnt yet."""
    accelerator = accelerate.Accelerator()
    torch.manual_seed(recipe.seed)
    if past is None:
        model = build_model(recipe)
        span = median_span([video.path for video in videos if video.split == "train"])
    else:
        model, record, _ = load_stage(out, past.record.stage)
        span = record.clip.span_seconds  # a device must not see its window change because only new videos are here
    model.to(accelerator.device)
    figures, lists = past.metrics if past else None, list_digests(recipe.data, videos)
    return Run(recipe, stages, videos, out, progress, model, accelerator, span, figures, lists)


def _fit(run: Run, stage: Stage) -> Fit:
    settings, seed = run.recipe.optimizer, run.recipe.seed * 1000 + stage.index
    torch.manual_seed(seed)
    return Fit(
        epochs=settings.epochs_first if stage.index == 1 else settings.epochs_later,
        optimizer=settings,
        seed=seed,
        accelerator=accelerate.Accelerator(),  # one per stage: it holds on to all that it prepares, a teacher too
        on_epoch=lambda number, total, terms: run.progress.epoch(stage.index, number, total, terms),
    )


def _begin(run: Run) -> None:
    try:
        run.out.mkdir(parents=True, exist_ok=True)
        write_recipe(run.recipe, run.out / RECIPE)
    except OSError as error:
        raise RecipeError(f"--out {run.out} can't be written ({error.strerror}); choose another folder.") from error


def _record(run: Run, stage: Stage) -> StageRecord:
    backbone = run.model.encoder.backbone
    return StageRecord(
        stage=stage.index,
        stages=tuple(earlier.classes for earlier in run.stages[: stage.index]),
        clip=ClipSpec(frames=run.recipe.sampling.frames, span_seconds=run.span),
        preprocess=backbone.spec,
        temperature=run.recipe.contrast.temperature,
        backbone=BackboneRecord(source=run.recipe.backbone.source, digest=backbone.digest()),
        method=run.recipe.method,
        seed=run.recipe.seed,
        sha256="",
        kept=(),
    )


def _metrics(run: Run, tested: Tested, curves: list[Terms], seconds: float) -> Metrics:
    before = run.metrics
    learnt = run.stages[: len(before.stages) + 1 if before else 1]
    row = accuracy_row(tested.labels, tested.predicted, [len(stage.classes) for stage in learnt])
    accuracy = [*(before.accuracy if before else []), row]
    seen = [*(before.seen if before else []), seen_accuracy(tested.labels, tested.predicted)]
    classes = [name for stage in learnt for name in stage.classes]
    return Metrics(
        method=run.recipe.method,
        seed=run.recipe.seed,
        classes=classes,
        stages=[list(stage.classes) for stage in learnt],
        accuracy=accuracy,
        seen=seen,
        final=seen[-1],
        average_incremental=average_incremental(seen),
        backward_forgetting=backward_forgetting(accuracy),
        seconds=seconds + (before.seconds if before else 0.0),
        environment=_environment() | run.notes,
        confusion=confusion(tested.labels, tested.predicted, len(classes)).tolist(),
        routing=[tested.routing_of(stage.index) for stage in learnt],
        curves=[*(before.curves if before else []), curves],
        lists=joined_lists(before.lists if before else {}, run.lists),
        notes=list(dict.fromkeys([*(before.notes if before else []), *run.recipe.cautions])),
    )


def _predictions(run: Run, tested: Tested) -> str:
    """`predictions.csv`: clip path, label, predicted label. Absolute paths: the exporter may run elsewhere."""
    names, text = run.classes, io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "predicted"])
    for video, guess in zip(tested.videos, tested.predicted, strict=True):
        writer.writerow([video.path.absolute(), video.label, names[guess]])
    return text.getvalue()


def _environment() -> dict[str, str]:
    packages = ("stpr", "torch", "transformers", "accelerate", "numpy")
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": str(torch.get_num_threads()),
        **{name: version(name) for name in packages},
    }
