"""From a stage checkpoint to a bundle: written aside, proved, and only then put in place."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
import numpy as np

from stpr.export import CLIPS
from stpr.export.certificate import Certificate, summary
from stpr.export.clips import load_all, tested_videos
from stpr.export.folder import whole_or_nothing
from stpr.export.graphs import DECISION
from stpr.export.parity import NamedClip, prove
from stpr.export.reference import answers
from stpr.export.to_onnx import trace_pieces, write_onnx
from stpr.runtime.contract.bundle import GOLDEN, MANIFEST, PARITY, file_entry, open_bundle
from stpr.runtime.contract.manifest import SCHEMA, ClassEntry, GraphSpec, Manifest, manifest_bytes
from stpr.runtime.contract.preprocess import Array
from stpr.train.model.stpr import StPR
from stpr.train.run.checkpoint import StageRecord, load_stage
from stpr.train.settings.recipe import Recipe

GRAPH_BYTES: Final = 1 << 20  # for the nodes of the graphs ...
EXPERT_BYTES: Final = 1 << 16  # ... and those of each expert in them

Advance: TypeAlias = Callable[[int], None]  # told how much of a step is done
Steps: TypeAlias = Callable[[str], AbstractContextManager[Advance]]


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A stage as it comes from its checkpoint."""

    name: str
    model: StPR
    record: StageRecord
    recipe: Recipe


@contextmanager
def silent(name: str) -> Iterator[Advance]:
    """Show nothing of a step."""
    del name
    yield lambda _: None


def export_stage(run: Path, stage: int, out: Path, *, clips: int = CLIPS, step: Steps = silent) -> Path:
    """Export a stage with all its experts to `out/RUN/stage-N`; returns that folder.

    `clips` caps the real test clips it is proved on; `step` is entered around each piece of work. Raises
    CheckpointError, DataError, ParityError or BundleError; nothing but a whole bundle is ever put in place.
    """
    with step(f"load stage {stage} of {run}"):
        loaded = _Loaded(run.resolve().name, *load_stage(run, stage))
        videos = tested_videos(run, stage, at_most=clips)
    target = out / loaded.name / f"stage-{stage}"
    with whole_or_nothing(target, needs=_size(loaded.model)) as folder:
        with step("trace encoder, expert and combination"):
            pieces = trace_pieces(loaded.model)
        with step("write graphs and weights"):
            specs = write_onnx(loaded.model, pieces, folder)
        with step(f"compare with PyTorch on {len(videos)} real clips") as advance:
            real = _counted(load_all(videos, loaded.record), advance)
            golden = next(real)
            certificate = prove(loaded.model, folder, chain([golden], real))
        with step("seal the bundle"):
            (folder / GOLDEN).write_bytes(_golden(loaded.model, golden.frames[np.newaxis]))
            (folder / PARITY).write_bytes(msgspec.json.format(msgspec.json.encode(certificate), indent=1) + b"\n")
            (folder / MANIFEST).write_bytes(manifest_bytes(_manifest(loaded, specs, certificate, folder)))
            open_bundle(folder)
    return target


def _counted(clips: Iterable[NamedClip], advance: Advance) -> Iterator[NamedClip]:
    for done, clip in enumerate(clips):
        advance(done)
        yield clip


def _size(model: StPR) -> int:
    """About how many bytes a bundle takes: all its weights, one clip, and the graphs."""
    weights = sum(value.nbytes for value in [*model.parameters(), *model.buffers()])
    spec, experts = model.encoder.backbone.spec, len(model.head.experts)
    golden = model.head.frames * (spec.height * spec.width * 3 + 4 * model.head.width)
    return weights + golden + GRAPH_BYTES + experts * EXPERT_BYTES


def _golden(model: StPR, frames: Array) -> bytes:
    """`golden.npz`: a clip `(1, T, H, W, 3)` and what PyTorch gave for it."""
    given = answers(model, frames)
    # In memory first: a disk that fills up in the middle of a zip file raises from its destructor too.
    buffer = io.BytesIO()
    decision = {name: getattr(given, name) for name in DECISION}
    np.savez(buffer, frames=frames, features=given.features, **decision)
    return buffer.getvalue()


def _manifest(loaded: _Loaded, specs: Mapping[str, GraphSpec], certificate: Certificate, folder: Path) -> Manifest:
    record = loaded.record
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return Manifest(
        schema=SCHEMA,
        name=loaded.name,
        stage=record.stage,
        classes=tuple(
            ClassEntry(name=name, stage=stage) for stage, names in enumerate(record.stages, start=1) for name in names
        ),
        clip=record.clip,
        preprocess=record.preprocess,
        temperature=record.temperature,
        unknown=record.unknown,
        precision="fp32",
        graphs=dict(specs),
        files={path.relative_to(folder).as_posix(): file_entry(path) for path in files},
        parity=summary(certificate),
        provenance=_provenance(loaded),
    )


def _provenance(loaded: _Loaded) -> dict[str, str]:
    record = loaded.record
    source = Path(record.backbone.source)
    return {
        "recipe": loaded.recipe.name,
        "method": record.method,
        "seed": str(record.seed),
        "checkpoint": record.sha256,
        "backbone": source.name if source.is_absolute() else record.backbone.source,
        "backbone digest": record.backbone.digest,
        **{name: version(name) for name in ("stpr", "torch", "transformers", "onnx", "onnxscript", "onnxruntime")},
    }
