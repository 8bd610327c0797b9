"""Traced graphs brought to a precision: written, inspected, and what no graph of it reads removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stpr.export.parity.certificate import Calibration
from stpr.export.parity.policy import Policy
from stpr.export.precisions import variant_of
from stpr.export.precisions.files import used_files
from stpr.export.precisions.inspection import Layers, inspect, refuse_other
from stpr.export.precisions.training import training_clips
from stpr.runtime.contract.manifest import GraphName, Precision
from stpr.train.run.checkpoint import StageRecord
from stpr.train.settings.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Brought:
    """The file of each graph, what is really in them, and what they must hold to."""

    files: Mapping[GraphName, str]
    policy: Policy
    calibration: Calibration | None
    layers: Layers
    bytes: dict[str, int]


def bring(folder: Path, precision: Precision, recipe: Recipe, record: StageRecord) -> Brought:
    """Turn the traced graphs in `folder` into those of `precision`; raises ParityError where they did not become it."""
    variant = variant_of(precision)
    written = variant.write(folder, lambda: training_clips(recipe, record))
    layers, sizes = inspect(folder, written.files)
    refuse_other(precision, variant.kinds, layers)
    used = used_files(folder, written.files.values())
    for file in [path for path in folder.rglob("*") if path.is_file()]:
        if file.relative_to(folder).as_posix() not in used:
            file.unlink()
    return Brought(written.files, variant.policy, written.calibration, layers, sizes)
