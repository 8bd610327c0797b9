"""The loop over stages, as in the paper: learn a stage, forget its videos, test on every class seen so far."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError

from stpr.runtime.contract.errors import CheckpointError, RecipeError
from stpr.runtime.contract.sampling import ClipSpec
from stpr.train.data.cache import FeatureCache
from stpr.train.data.clips import median_span
from stpr.train.data.list_digests import joined_lists, list_digests
from stpr.train.data.stages import Stage, check_videos
from stpr.train.datasets.annotations import Video
from stpr.train.datasets.dataset import Listed
from stpr.train.learning.distributed import ALONE, Processes
from stpr.train.learning.fit import Fit, Terms, check_precision
from stpr.train.learning.inputs import FrozenFeatures, PixelClips, StageInputs, all_stages, encode_frozen
from stpr.train.learning.snapshot import SNAPSHOT, Snapshots, fingerprint
from stpr.train.methods import METHODS
from stpr.train.model.stpr import StPR
from stpr.train.run.checkpoint import RECIPE, BackboneRecord, StageRecord, build_model, load_stage, save_stage
from stpr.train.run.environment import environment
from stpr.train.run.evaluate import Tested, classify, predictions_csv
from stpr.train.run.metrics import (
    Metrics,
    accuracy_row,
    average_incremental,
    backward_forgetting,
    confusion,
    routed_right,
    seen_accuracy,
    write_metrics,
)
from stpr.train.run.open_set import learn_and_calibrate, measure, spec_of
from stpr.train.run.open_set_metrics import UnknownFigures
from stpr.train.run.progress import Progress
from stpr.train.run.resume import Past
from stpr.train.run.tensorboard import Scalars
from stpr.train.settings.load import write_recipe
from stpr.train.settings.recipe import Recipe


@dataclass(slots=True)
class Run:
    """One run of a recipe over its stages."""

    recipe: Recipe
    stages: list[Stage]
    videos: list[Video]
    out: Path
    progress: Progress
    model: StPR
    processes: Processes
    span: float
    metrics: Metrics | None = None  # of the stages learnt so far
    lists: dict[str, str] = field(default_factory=dict)  # list file -> SHA-256
    tests: dict[int, StageInputs] = field(default_factory=dict)
    cache: FeatureCache | None = None
    notes: dict[str, str] = field(default_factory=dict)  # what else belongs into the environment of the figures
    thresholds: list[float | None] = field(default_factory=list)  # of the stages learnt so far, for what is unknown
    # Stays empty unless the method keeps old videos.
    revisited: dict[int, FrozenFeatures | PixelClips] = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        """All classes in learning order."""
        return [name for stage in self.stages for name in stage.classes]

    def videos_of(self, stage: Stage, split: str) -> list[Video]:
        """The stage's videos of a split, sorted by path."""
        return [video for video in self.videos if video.split == split and video.label in stage.classes]

    def tests_of(self, stages: list[Stage]) -> list[StageInputs]:
        """Test clips of stages that have any, encoded once."""
        there = [stage for stage in stages if self.videos_of(stage, "test")]
        self.tests |= {stage.index: self.inputs(stage, "test") for stage in there if stage.index not in self.tests}
        return [self.tests[stage.index] for stage in there]

    def inputs(self, stage: Stage, split: str) -> FrozenFeatures | PixelClips:
        """The stage's clips, encoded once if nothing upstream of the adapters trains."""
        videos = self.videos_of(stage, split)
        order = {name: position for position, name in enumerate(self.classes)}
        labels = torch.tensor([order[video.label] for video in videos])
        encoder, sampling, seed = self.model.encoder, self.recipe.sampling, self.recipe.seed
        clips = PixelClips(
            videos, labels, spec=encoder.backbone.spec, sampling=sampling, seed=seed, processes=self.processes
        )
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
        with run.processes.together():
            if run.processes.is_main:
                _begin(run)
        scalars = Scalars(run.out, run.metrics) if run.processes.is_main else None
        for stage in run.stages[done:last]:
            _learn(run, stage, scalars)
        if scalars is not None:
            scalars.close()
    assert run.metrics is not None
    return run.metrics


def _learn(run: Run, stage: Stage, scalars: Scalars | None) -> None:
    """Learn and test one stage; on disk it is there as a whole or not at all."""
    snapshots = _snapshots(run, stage)
    classes, inputs = _start_over(run, stage) if run.recipe.revisits else (stage.classes, run.inputs(stage, "train"))
    how = _fit(run, stage, snapshots, scalars)
    curves, low = learn_and_calibrate(METHODS[run.recipe.method], run.model, classes, inputs, run.recipe, how)
    run.thresholds.append(low)
    del inputs  # from here on nothing of the stage's videos is left but the model's tensors
    tested = test(run, upto=stage)
    run.metrics = _metrics(run, tested, curves, snapshots.seconds)
    with run.processes.together():
        if run.processes.is_main:
            _save(run, stage, tested)
    if scalars is not None:
        scalars.tested(stage.index, run.metrics.final)
    run.progress.tested(run.metrics)


@torch.no_grad()
def test(run: Run, *, upto: Stage) -> Tested:
    """Classify what test clips there are of every stage up to `upto`, all classes seen competing, without a task id."""
    model = run.model.eval()
    seen = [stage for stage in run.stages[: upto.index] if run.videos_of(stage, "test")]
    predicted, routing, guided, labels = [], [], [], []
    for stage, inputs in zip(seen, run.tests_of(seen), strict=True):
        guesses, weights, led = classify(model, inputs, stage.index)
        predicted.append(guesses)
        routing.append(weights)
        guided.append(led)
        labels.append(inputs.labels.numpy())
    return Tested(
        videos=[video for stage in seen for video in run.videos_of(stage, "test")],
        labels=np.concatenate(labels),
        stages=np.repeat([stage.index for stage in seen], [len(part) for part in labels]),
        predicted=np.concatenate(predicted),
        routing=np.concatenate(routing),
        guided=np.concatenate(guided),
    )


def prepare(  # noqa: PLR0913
    recipe: Recipe,
    listed: Listed,
    stages: list[Stage],
    *,
    out: Path,
    progress: Progress,
    past: Past | None = None,
    processes: Processes = ALONE,
) -> Run:
    """Build the network, or load what it had learnt, and gather what a run needs; nothing new is learnt yet."""
    check_precision(recipe.optimizer.precision, processes.device)
    torch.manual_seed(recipe.seed)
    if past is None:
        model = build_model(recipe)
        span = median_span([video.path for video in listed.videos if video.split == "train"])
    else:
        model, record, _ = load_stage(out, past.record.stage)
        span = record.clip.span_seconds  # a device must not see its window change because only new videos are here
    model.to(processes.device)
    figures, lists = past.metrics if past else None, list_digests(recipe.data, listed)
    run = Run(recipe, stages, listed.videos, out, progress, model, processes, span, figures, lists)
    if past and past.record.unknown:
        run.thresholds.extend(past.record.unknown.thresholds)
    return run


def _start_over(run: Run, stage: Stage) -> tuple[tuple[str, ...], StageInputs]:
    """A network that has learnt nothing, all classes so far and their clips, for a method that keeps old videos."""
    sofar = run.stages[: stage.index]
    check_videos(sofar, run.videos, splits=("train",))
    for one in sofar:
        run.revisited[one.index] = run.revisited.get(one.index) or run.inputs(one, "train")
    torch.manual_seed(run.recipe.seed)
    run.model = build_model(run.recipe).to(run.processes.device)
    return tuple(name for one in sofar for name in one.classes), all_stages(list(run.revisited.values()))


def _fit(run: Run, stage: Stage, snapshots: Snapshots | None = None, scalars: Scalars | None = None) -> Fit:
    settings, seed = run.recipe.optimizer, run.recipe.seed * 1000 + stage.index
    torch.manual_seed(seed)

    def on_epoch(number: int, total: int, terms: Terms) -> None:
        run.progress.epoch(stage.index, number, total, terms)
        if scalars is not None:
            scalars.epoch(terms)

    return Fit(
        epochs=settings.epochs_first if stage.index == 1 or run.recipe.revisits else settings.epochs_later,
        optimizer=settings,
        seed=seed,
        on_epoch=on_epoch,
        snapshots=snapshots,
    )


def _snapshots(run: Run, stage: Stage) -> Snapshots:
    sofar = run.stages[: stage.index]
    learnt = [earlier.classes for earlier in sofar]
    videos = [video for one in (sofar if run.recipe.revisits else [stage]) for video in run.videos_of(one, "train")]
    return Snapshots(
        run.out,
        stage.index,
        fingerprint(run.recipe, learnt, videos),
        run.progress.note,
        processes=run.processes,
    )


def _begin(run: Run) -> None:
    try:
        run.out.mkdir(parents=True, exist_ok=True)
        write_recipe(run.recipe, run.out / RECIPE)
    except OSError as error:
        raise RecipeError(f"--out {run.out} can't be written ({error.strerror}); choose another folder.") from error


def _save(run: Run, stage: Stage, tested: Tested) -> None:
    assert run.metrics is not None
    try:
        save_stage(run.out, run.model, _record(run, stage), predictions_csv(tested, run.classes))
        write_metrics(run.out, run.metrics)
        (run.out / SNAPSHOT).unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"stage {stage.index} can't be saved to {run.out} ({error}); make room, then go on with --resume."
        ) from error


def _record(run: Run, stage: Stage) -> StageRecord:
    backbone = run.model.encoder.backbone
    learnt = Counter(video.label for video in run.videos_of(stage, "train"))
    return StageRecord(
        stage=stage.index,
        stages=tuple(earlier.classes for earlier in run.stages[: stage.index]),
        clip=ClipSpec(frames=run.recipe.sampling.frames, span_seconds=run.span),
        preprocess=backbone.spec,
        temperature=run.recipe.contrast.temperature,
        unknown=spec_of(run.model, run.recipe.unknown, run.thresholds),
        backbone=BackboneRecord(source=run.recipe.backbone.source, digest=backbone.digest()),
        method=run.recipe.method,
        seed=run.recipe.seed,
        sha256="",
        kept=(),
        clips=tuple(learnt[name] for name in stage.classes),
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
        environment=environment(run.processes) | run.notes,
        confusion=confusion(tested.labels, tested.predicted, len(classes)).tolist(),
        routing=[tested.routing_of(stage.index) for stage in learnt],
        curves=[*(before.curves if before else []), curves],
        lists=joined_lists(before.lists if before else {}, run.lists),
        notes=list(dict.fromkeys([*(before.notes if before else []), *run.recipe.cautions])),
        unknown=[*(before.unknown if before else []), _unknown(run, learnt)],
        routed=routed_right(tested.routing, tested.stages),
        right_expert=seen_accuracy(tested.labels, tested.guided) if tested.routing.shape[1] > 1 else None,
    )


def _unknown(run: Run, learnt: list[Stage]) -> UnknownFigures | None:
    spec = spec_of(run.model, run.recipe.unknown, run.thresholds)
    if spec is None:
        return None
    owners = [stage.index - 1 for stage in learnt for _ in stage.classes]
    strange = run.tests_of(run.stages[len(learnt) :])
    return measure(run.model, spec, owners, known=run.tests_of(learnt), strange=strange)
