"""Write and read stage checkpoints: everything that remains of a stage (safetensors, JSON, CSV), atomically."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeAlias

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from stpr.runtime.contract.durable import whole_folder
from stpr.runtime.contract.errors import CheckpointError, RecipeError
from stpr.runtime.contract.manifest import UnknownSpec
from stpr.runtime.contract.motion import MotionSpec
from stpr.runtime.contract.preprocess import PreprocessSpec
from stpr.runtime.contract.sampling import ClipSpec
from stpr.train.methods import method_of
from stpr.train.methods.build import build_model
from stpr.train.model.stpr import StPR
from stpr.train.run.folder import (
    RECIPE,
    RECORD,
    TENSORS,
    finished_stages,
    named_stages,
    recipe_file,
    stage_folder,
)
from stpr.train.settings.load import read_resolved
from stpr.train.settings.recipe import Recipe

Grow: TypeAlias = Callable[[StPR, int], None]  # extends a model by a stage with this many classes

SCHEMA = 2  # of stage.json
MEND = "restore the recipe that the run was started with."
KINDS = {  # prefix of a stored tensor's name -> its kind
    "encoder.projection": "projection",
    "encoder.backbone.correlations": "axes of channels",
    "encoder": "adapter",
    "head.experts": "expert",
    "head.anchors": "anchors",
    "head.keys": "keys",
    "head.class_vectors": "class vectors",
    "head.trust": "trust in experts",
    "head.calibration": "temperature",
    "head.statistics": "class statistics",
    "memory": "memory",
}
UNKNOWN_KIND = "unknown"


class KeptTensor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One stored tensor."""

    name: str
    kind: str
    shape: tuple[int, ...]
    bytes: int


class BackboneRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The frozen network of a run; its weights are not copied into the checkpoint."""

    source: str
    digest: str


class Doubtful(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A training clip whose label may be wrong: its nearest neighbours are all of another class."""

    path: str
    label: str
    like: str


class StageRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`stage.json`: the classes and settings of this checkpoint, and every tensor in it."""

    schema: int = 0  # files of schema 0 have no such key
    stage: int
    stages: tuple[tuple[str, ...], ...]  # classes learnt so far, by stage, in learning order
    clip: ClipSpec
    preprocess: PreprocessSpec
    motion: MotionSpec | None = None
    temperature: float
    unknown: UnknownSpec | None  # thresholds so far; None if no clips are held out
    backbone: BackboneRecord
    method: str
    seed: int
    sha256: str  # of model.safetensors
    kept: tuple[KeptTensor, ...]
    clips: tuple[int, ...] = ()  # training clips of each class of this stage; empty if not counted
    doubtful: tuple[Doubtful, ...] = ()  # a few clips, the clearest first

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes in logit order."""
        return tuple(name for stage in self.stages for name in stage)


def kept_tensors(model: StPR) -> dict[str, Tensor]:
    """The tensors to save, by stored name: the model's state without the frozen backbone."""
    return {name: value.detach().cpu().contiguous() for name, value in kept_state(model).items()}


def kept_state(model: StPR) -> dict[str, Tensor]:
    """The same, by the model's own names."""
    state = {name: value for name, value in model.state_dict().items() if is_kept(name) and value.numel() > 0}
    return {stored_name(name): value for name, value in state.items()}


def is_kept(name: str) -> bool:
    """Whether a tensor of the model's state is saved: all except the frozen network's."""
    return not name.startswith("encoder.backbone.network") or ".adapter." in name


def stored_name(name: str) -> str:
    """A tensor's name in the checkpoint: `head.combiner.x` is stored as `head.x`."""
    return name.replace("head.combiner.", "head.", 1)


def kind_of(name: str) -> str:
    """The kind of a stored tensor by its name; "unknown" if no prefix in KINDS matches."""
    return next((kind for prefix, kind in KINDS.items() if name.startswith(prefix)), UNKNOWN_KIND)


def save_stage(run: Path, model: StPR, record: StageRecord, lists: Mapping[str, str]) -> Path:
    """Write `run/stage-N` atomically; fills in the record's digest and list of tensors. `lists`: file name -> content.

    Raises OSError or SafetensorError if it can't be written.
    """
    target = stage_folder(run, record.stage)
    with whole_folder(target) as part:
        _write_files(part, kept_tensors(model), record)
        for name, content in lists.items():
            (part / name).write_text(content, encoding="utf-8")
    return target


def _write_files(part: Path, tensors: dict[str, Tensor], record: StageRecord) -> None:
    save_file(tensors, part / TENSORS)
    record = msgspec.structs.replace(
        record,
        schema=SCHEMA,
        sha256=hashlib.sha256((part / TENSORS).read_bytes()).hexdigest(),
        kept=tuple(
            KeptTensor(name=name, kind=kind_of(name), shape=tuple(value.shape), bytes=value.nbytes)
            for name, value in sorted(tensors.items())
        ),
    )
    (part / RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1))


def read_record(run: Path, stage: int) -> StageRecord:
    """Read `stage.json`; raises CheckpointError if the stage is missing or damaged."""
    file = stage_folder(run, stage) / RECORD
    if not file.is_file():
        done = finished_stages(run)
        has = f"has {named_stages(done)}, not stage {stage}" if done else "has no finished stage"
        raise CheckpointError(f"{run} {has}; train further or choose another --stage.")
    try:
        record = msgspec.json.decode(file.read_bytes(), type=StageRecord)
    except (msgspec.DecodeError, ValueError) as error:
        raise CheckpointError(f"{file} is damaged ({error}); train the stage again.") from error
    if record.schema > SCHEMA:
        raise CheckpointError(f"{file} has schema {record.schema}; this stpr reads 0 to {SCHEMA}: upgrade it here.")
    stages = tuple(tuple(unicodedata.normalize("NFC", name) for name in classes) for classes in record.stages)
    return msgspec.structs.replace(record, stages=stages)


def check_stage(run: Path, stage: int) -> StageRecord:
    """Read a stage's record and verify its tensors' digest. Raises CheckpointError if they don't match."""
    record = read_record(run, stage)
    _check_digest(stage_folder(run, stage) / TENSORS, record)
    return record


def load_stage(run: Path, stage: int, recipe: Recipe | None = None) -> tuple[StPR, StageRecord, Recipe]:
    """Rebuild the network as it was after a stage; raises CheckpointError if anything differs from what was saved.

    `recipe` replaces the run's own if the backbone has moved.
    """
    recipe = recipe or read_resolved(recipe_file(run))
    record = read_record(run, stage)
    model = build_model(recipe)
    check_backbone(model, record)
    file = stage_folder(run, stage) / TENSORS
    restore(model, _upgrade(_read_tensors(file, record), record, model), record, method_of(recipe).grow)
    return model.eval(), record, recipe


def _upgrade(tensors: dict[str, Tensor], record: StageRecord, model: StPR) -> dict[str, Tensor]:
    """Convert tensors of an older schema to current names.

    Schema 0 called every method's memory `importance`, and gave every head experts and class vectors. Up to schema 1
    the statistics had a single view without a name of its own, and scores were not calibrated.
    """
    if record.schema == SCHEMA:
        return tensors
    views = {f"head.statistics.{name}": f"head.statistics.views.0.{name}" for name in ("means", "scatter")}
    tensors = {views.get(name, name): value for name, value in tensors.items()}
    tensors["head.calibration"] = torch.zeros(2)
    if record.schema == 1:
        return tensors
    memory = [f"memory.{name}" for name, _ in model.memory.named_buffers()]
    renamed = {memory[0] if memory and name == "importance" else name: value for name, value in tensors.items()}
    kept = {stored_name(name) for name in model.state_dict()}
    idle = [name for name in ("head.class_vectors", "head.anchors") if name not in kept]
    idle += [] if model.head.form else [name for name in renamed if name.startswith("head.experts.")]
    return {name: value for name, value in renamed.items() if name not in idle}


def restore(model: StPR, tensors: dict[str, Tensor], record: StageRecord, grow: Grow) -> None:
    """Load a checkpoint into a newly built model, growing it to size; raises CheckpointError if they don't fit."""
    for classes in record.stages:
        grow(model, len(classes))
    places = {stored_name(name): name for name in model.state_dict()}
    _check_names(model, tensors, record, places.keys())
    for name, value in tensors.items():
        owner, _, leaf = places[name].rpartition(".")
        module = model.get_submodule(owner)
        if leaf in module._buffers:
            module._buffers[leaf] = torch.empty_like(value)  # buffers that grow with the classes
    values = {places[name]: value for name, value in tensors.items()}
    misfits = [name for name, value in model.state_dict().items() if values.get(name, value).shape != value.shape]
    if misfits:
        raise CheckpointError(f"stage {record.stage} does not fit its {RECIPE}: {misfits[0]} has another size; {MEND}")
    model.load_state_dict(values, strict=False)
    if model.head.combiner.statistics is not None:
        model.head.combiner.statistics.refresh()


def _check_names(model: StPR, tensors: Collection[str], record: StageRecord, places: Collection[str]) -> None:
    odd = [f"{name} is unknown" for name in tensors if name not in places]
    odd += [f"{name} is missing" for name in kept_state(model) if name not in tensors]
    if odd:
        raise CheckpointError(f"stage {record.stage} does not fit its {RECIPE}: {odd[0]}; {MEND}")


def _read_tensors(file: Path, record: StageRecord) -> dict[str, Tensor]:
    _check_digest(file, record)
    try:
        tensors: dict[str, Tensor] = load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file} can't be read ({error}); train the stage again.") from error
    if lost := not_numbers(tensors):
        raise CheckpointError(f"{file} holds values that are not finite, in {lost[0]}; train the stage again.")
    return tensors


def _check_digest(file: Path, record: StageRecord) -> None:
    try:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise CheckpointError(f"{file} can't be read ({error}); train the stage again.") from error
    if found != record.sha256:
        raise CheckpointError(f"{file} is not the file that was saved (its sha256 differs); train the stage again.")


def not_numbers(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that contain NaN or infinity."""
    return [name for name, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()]


def check_numbers(model: StPR, stage: int) -> None:
    """Raise RecipeError if a tensor to be stored contains NaN or infinity."""
    if lost := not_numbers(kept_state(model)):
        raise RecipeError(
            f"training stage {stage} produced NaN or infinity in the {kind_of(lost[0])} ({lost[0]}); lower [optimizer]"
            " rate, or check the stage's videos for anything unusual."
        )


def check_backbone(model: StPR, record: StageRecord) -> None:
    """Raise CheckpointError unless the frozen network has the weights that the run was trained with."""
    found = model.encoder.backbone.digest()
    if found != record.backbone.digest:
        raise CheckpointError(
            f"backbone {record.backbone.source} has other weights (sha256 {found[:12]}…) than the run was trained"
            f" with ({record.backbone.digest[:12]}…); restore that network."
        )
