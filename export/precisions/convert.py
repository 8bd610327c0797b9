"""From traced graphs to those of a precision: write them, inspect them, and remove the files that they do not read."""

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
class Converted:
    """The file of each graph, the element types that were found in them, and the policy that they must hold to."""

    files: Mapping[GraphName, str]
    policy: Policy
    calibration: Calibration | None
    layers: Layers
    bytes: dict[str, int]


def convert(folder: Path, precision: Precision, recipe: Recipe, record: StageRecord) -> Converted:
    """Write the traced graphs in `folder` in `precision`; raises ParityError where the files are of another type."""
    variant = variant_of(precision)
    written = variant.write(folder, lambda: training_clips(recipe, record))
    layers, sizes = inspect(folder, written.files)
    refuse_other(precision, variant.kinds, layers)
    used = used_files(folder, written.files.values())
    for file in [path for path in folder.rglob("*") if path.is_file()]:
        if file.relative_to(folder).as_posix() not in used:
            file.unlink()
    return Converted(written.files, variant.policy, written.calibration, layers, sizes)
