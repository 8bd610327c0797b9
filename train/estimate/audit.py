"""Audit what a run stores: every byte after every stage, and that no tensor depends on the number of clips.

A tensor is explained if its shape follows from the recipe, the frozen network and the number of classes (`footprint`);
none of these knows how many training clips there were. Files are identified by name; any other file is a fault.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import torch
from safetensors import SafetensorError, safe_open

from stpr.runtime.contract.errors import CheckpointError
from stpr.train.estimate.footprint import StageSize, flops_of, stage_sizes, sum_by_kind
from stpr.train.methods import method_cautions
from stpr.train.methods.build import build_model
from stpr.train.run.checkpoint import StageRecord, check_backbone, read_record
from stpr.train.run.folder import (
    LEFTOVER,
    RECIPE,
    RECORD,
    SNAPSHOT,
    TENSORS,
    begun_stages,
    classified_files,
    metrics_file,
    recipe_file,
    snapshot_file,
    stage_folder,
)
from stpr.train.run.learnt import read_learnt, tested_videos
from stpr.train.run.metrics import read_metrics
from stpr.train.settings.load import read_resolved
from stpr.train.settings.recipe import Recipe

HORIZON: Final = 50  # number of stages up to which growth is projected
NEW: Final = {f"head.statistics.wholeness.{name}" for name in ("background", "doubt")}  # earlier versions lack them
KEPT_AGAIN: Final = "train the stage again or put the file back"


class StageAudit(msgspec.Struct, frozen=True, kw_only=True):
    """Totals of what is stored after a stage, earlier stages included."""

    stage: int
    classes: int  # in all
    clips: tuple[int, ...]  # training clips of each class of this stage; empty if they were not counted
    tensors: int
    bytes: dict[str, int]  # by kind
    header: int  # bytes of the tensor file's header: names and shapes
    flops: int  # of the head, for one clip

    @property
    def total(self) -> int:
        """Total bytes of the tensors."""
        return sum(self.bytes.values())


class KeptFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the run folder; `what` is empty for one that training doesn't write."""

    path: str
    bytes: int
    what: str


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an audit. `faults` contradict the claim; `cautions` limit it."""

    run: str
    method: str
    stages: tuple[StageAudit, ...]
    projected: tuple[StageAudit, ...]  # later stages up to HORIZON, each with as many classes as the last
    encoder_flops: int  # for one frame
    frames: int  # of a clip
    files: tuple[KeptFile, ...]
    faults: tuple[str, ...]
    cautions: tuple[str, ...]

    @property
    def grown(self) -> list[int]:
        """Bytes that each stage added."""
        totals = [stage.total for stage in self.stages]
        return [now - before for before, now in zip([0, *totals], totals, strict=False)]


def audit(run: Path, recipe: Recipe | None = None) -> Audit:
    """Audit a run folder; raises CheckpointError if a stage's file is missing, damaged or replaced.

    `recipe` replaces the run's own if the backbone has moved.
    """
    records = _records(run)
    found = [_read(run, record) for record in records]
    recipe = recipe or read_resolved(recipe_file(run))
    model = build_model(recipe).eval()
    check_backbone(model, records[-1])
    classes = [len(names) for names in records[-1].stages]
    classes += [classes[-1]] * (HORIZON - len(classes))
    sizes = list(stage_sizes(model.encoder, recipe, classes))
    measured = list(zip(records, found, sizes[: len(records)], strict=True))
    faults = [fault for parts in measured for fault in _unexplained(*parts)]
    files = _files(run)
    faults += [f"{file.path} ({file.bytes:,} bytes) is not a run's file" for file in files if not file.what]
    learnt, unknown = read_learnt(run, records[-1])
    faults += learnt.among(tested_videos(run, records[-1].stage))
    frame = torch.zeros(1, *model.encoder.pixels.shape, dtype=torch.uint8)
    return Audit(
        run=str(run),
        method=recipe.method,
        stages=tuple(_measured(*parts) for parts in measured),
        projected=tuple(_projected(size, sum(classes[: size.stage])) for size in sizes[len(records) :]),
        encoder_flops=flops_of(model.encoder, frame),
        frames=recipe.sampling.frames,
        files=files,
        faults=tuple(faults),
        cautions=tuple(
            [caution for record in records for caution in _cautions(record)]
            + _uncounted(records)
            + unknown
            + _elsewhere(run, recipe)
            + _half_written(files)
        ),
    )


@dataclass(frozen=True, slots=True)
class _StageFile:
    """The contents of a stage's tensor file."""

    shapes: dict[str, tuple[int, ...]]
    bytes: dict[str, int]
    header: int


def _records(run: Path) -> list[StageRecord]:
    """Read the records of all stages; raises CheckpointError if a tensor file is missing."""
    if not recipe_file(run).is_file():
        raise CheckpointError(f"{run} is not a run: it has no {RECIPE}; name a folder that stpr-train wrote.")
    numbers = begun_stages(run)
    if not numbers:
        raise CheckpointError(f"{run} has no finished stage, so it stores nothing yet; train one first.")
    for stage in range(1, max(numbers) + 1):
        for name in (RECORD, TENSORS):
            file = stage_folder(run, stage) / name
            if not file.is_file():
                raise CheckpointError(f"{file} is missing, so stage {stage} can't be audited; {KEPT_AGAIN}.")
    return [read_record(run, stage) for stage in range(1, max(numbers) + 1)]


def _read(run: Path, record: StageRecord) -> _StageFile:
    """Read names, shapes and sizes from a stage's file; raises CheckpointError unless they match its record."""
    file = stage_folder(run, record.stage) / TENSORS
    data = file.read_bytes()
    if hashlib.sha256(data).hexdigest() != record.sha256:
        raise CheckpointError(f"{file} is not the file that was saved (its sha256 differs); {KEPT_AGAIN}.")
    try:
        with safe_open(file, framework="pt") as tensors:
            held = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118  (no mapping)
    except SafetensorError as error:
        raise CheckpointError(f"{file} can't be read ({error}); {KEPT_AGAIN}.") from error
    found = {name: (tuple(value.shape), value.nbytes) for name, value in held.items()}
    listed = {kept.name: (kept.shape, kept.bytes) for kept in record.kept}
    odd = sorted(name for name in {**found, **listed} if found.get(name) != listed.get(name))
    if odd:
        raise CheckpointError(f"{file} and the {RECORD} beside it disagree about {odd[0]}; {KEPT_AGAIN}.")
    sizes = {name: size for name, (_, size) in found.items()}
    return _StageFile({name: shape for name, (shape, _) in found.items()}, sizes, len(data) - sum(sizes.values()))


def _unexplained(record: StageRecord, held: _StageFile, size: StageSize) -> list[str]:
    """Describe tensors that settings, network and classes do not explain, and expected ones that are missing."""
    where = f"stage {record.stage}:"
    odd = []
    for name, shape in held.shapes.items():
        wanted = size.shapes.get(name)
        if wanted is None:
            odd.append(f"{where} no setting explains the tensor {name} {shape}")
        elif (shape, held.bytes[name]) != (wanted, size.bytes[name]):
            odd.append(f"{where} {name} is {shape} in {held.bytes[name]:,} bytes; the settings explain {wanted}")
    missing = [name for name in size.shapes if name not in held.shapes and name not in NEW]
    return odd + [f"{where} {name} is missing" for name in missing]


def _measured(record: StageRecord, held: _StageFile, size: StageSize) -> StageAudit:
    return StageAudit(
        stage=record.stage,
        classes=len(record.classes),
        clips=record.clips,
        tensors=len(held.shapes),
        bytes=sum_by_kind(held.bytes),
        header=held.header,
        flops=size.flops,
    )


def _projected(size: StageSize, classes: int) -> StageAudit:
    kinds = sum_by_kind(size.bytes)
    return StageAudit(
        stage=size.stage, classes=classes, clips=(), tensors=len(size.shapes), bytes=kinds, header=0, flops=size.flops
    )


def _cautions(record: StageRecord) -> list[str]:
    """Describe classes whose stored means reveal single clips, as the mean of one clip is that clip's feature."""
    names = record.stages[record.stage - 1]
    alone = [name for name, clips in zip(names, record.clips, strict=False) if clips == 1]  # none if not counted
    cautions = [
        f"stage {record.stage}: class {name!r} was learnt from 1 clip, so its means are that clip's own feature"
        for name in alone
    ]
    # A single degree of freedom: the stage's scatter is the outer product of one difference between two clips.
    if sum(record.clips) == len(names) + 1 and any(kept.name.endswith("scatter") for kept in record.kept):
        cautions.append(
            f"stage {record.stage}: one class had 2 clips and no other more than 1, so means and scatter together give"
            " the features of both"
        )
    return cautions


def _uncounted(records: Sequence[StageRecord]) -> list[str]:
    """Warn that single-clip classes can't be noticed in stages whose clips were not counted."""
    stages = [str(record.stage) for record in records if not record.clips]
    why = "so a class of 1 clip, whose means are that clip's own feature, would not be noticed"
    return [f"clips per class were not counted in stage {', '.join(stages)}, {why}"] if stages else []


def _elsewhere(run: Path, recipe: Recipe) -> list[str]:
    """Warn about clip features outside the audit: the user's --cache, and the snapshot of an unfinished stage."""
    cache = read_metrics(run).environment.get("cache") if metrics_file(run).is_file() else None
    what = "the --cache folder holds clips' features, which this audit does not cover; delete it to keep none"
    half = f"{SNAPSHOT}: a stage is unfinished; its parameters are stored there until it ends, outside this audit"
    cautions = [f"{cache}: {what}"] if cache else []
    cautions += [half] if snapshot_file(run).is_file() else []
    return [*cautions, *method_cautions(recipe)]


def _half_written(files: Sequence[KeptFile]) -> list[str]:
    """Warn about temporary files that an interrupted write left behind."""
    return [
        f"{file.path} ({file.bytes:,} bytes) is {LEFTOVER}; this audit does not cover it: delete it unless a run is"
        " still writing"
        for file in files
        if file.what == LEFTOVER
    ]


def _files(run: Path) -> tuple[KeptFile, ...]:
    """List every file in the run folder, sorted by path."""
    return tuple(
        KeptFile(path=path.relative_to(run).as_posix(), bytes=path.lstat().st_size, what=what)
        for path, what in classified_files(run).items()
    )
