"""Complete a folder of graphs and weights to a bundle: golden clip, certificate and manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np

from stpr.export.graphs.cut import graph_specs
from stpr.export.package.arrays import golden_file, place_file
from stpr.export.package.request import Options
from stpr.export.parity.certificate import Certificate, certificate_file, summary
from stpr.runtime.contract.bundle import GOLDEN, MANIFEST, PLACE, file_entry, open_bundle
from stpr.runtime.contract.manifest import SCHEMA, ClassEntry, GraphName, Manifest, Precision, manifest_bytes
from stpr.runtime.contract.preprocess import Array
from stpr.runtime.contract.signature import sign
from stpr.train.model.stpr import StPR
from stpr.train.run.checkpoint import StageRecord
from stpr.train.settings.recipe import Recipe

Files: TypeAlias = Mapping[Precision, Mapping[GraphName, str]]  # file of each graph, per precision


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage loaded from its checkpoint; `name` is the run's."""

    name: str
    model: StPR
    record: StageRecord
    recipe: Recipe


def seal(folder: Path, stage: Stage, files: Files, certificates: Sequence[Certificate], golden: Array) -> None:
    """Add certificates, golden clip and finally the manifest to `folder`; `golden`: a clip's pixels `(T, *shape)`.

    The precision of the first certificate is the default on devices.
    """
    (folder / GOLDEN).write_bytes(golden_file(stage.model, golden[np.newaxis]))
    if (place := place_file(stage.model)) is not None:
        (folder / PLACE).write_bytes(place)
    for one in certificates:
        raw = msgspec.json.format(msgspec.json.encode(one), indent=1) + b"\n"
        (folder / certificate_file(one.precision, certificates[0].precision)).write_bytes(raw)
    (folder / MANIFEST).write_bytes(manifest_bytes(_manifest(stage, files, certificates, folder)))


def finish(folder: Path, options: Options) -> None:
    """Check a sealed folder as a device would, and its size limit; sign it if requested. Raises BundleError."""
    open_bundle(folder)
    if options.sign is not None:
        sign(folder, options.sign)
    options.check_size(folder)


def _manifest(stage: Stage, files: Files, certificates: Sequence[Certificate], folder: Path) -> Manifest:
    record = stage.record
    held = sorted(path for path in folder.rglob("*") if path.is_file())
    learnt = [(name, number) for number, names in enumerate(record.stages, start=1) for name in names]
    return Manifest(
        schema=SCHEMA,
        name=stage.name,
        stage=record.stage,
        classes=tuple(
            ClassEntry(name=name, stage=number, moves=moves)
            for (name, number), moves in zip(learnt, stage.model.head.combiner.moving, strict=True)
        ),
        clip=record.clip,
        preprocess=record.preprocess,
        motion=record.motion,
        temperature=record.temperature,
        unknown=record.unknown,
        precision=certificates[0].precision,
        graphs={
            name: msgspec.structs.replace(spec, variants={one: named[name] for one, named in files.items()})
            for name, spec in graph_specs(stage.model).items()
        },
        files={path.relative_to(folder).as_posix(): file_entry(path) for path in held},
        parity={one.precision: summary(one) for one in certificates},
        provenance=_provenance(stage),
    )


def source_of(record: StageRecord) -> str:
    """The name of the frozen network, without local paths."""
    source = Path(record.backbone.source)
    return source.name if source.is_absolute() else record.backbone.source


def _provenance(stage: Stage) -> dict[str, str]:
    record = stage.record
    return {
        "recipe": stage.recipe.name,
        "method": record.method,
        "seed": str(record.seed),
        "checkpoint": record.sha256,
        "backbone": source_of(record),
        "backbone digest": record.backbone.digest,
        **{name: version(name) for name in ("stpr", "torch", "transformers", "onnx", "onnxscript", "onnxruntime")},
    }
