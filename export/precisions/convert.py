"""Convert traced graphs to a precision: write them, inspect them, and remove unused files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stpr.export.parity.policy import Policy
from stpr.export.precisions import variant_of
from stpr.export.precisions.files import used_files
from stpr.export.precisions.inspection import Layers, inspect, refuse_other
from stpr.export.precisions.training import training_clips
from stpr.export.precisions.variant import Written
from stpr.runtime.contract.manifest import GraphName, Precision
from stpr.train.run.checkpoint import StageRecord
from stpr.train.settings.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written, the element types that were found in it, and the policy that it must hold to."""

    written: Written
    policy: Policy
    layers: Layers
    bytes: dict[str, int]

    @property
    def files(self) -> Mapping[GraphName, str]:
        """The file of each graph."""
        return self.written.files

    @property
    def verdict(self) -> str | None:
        """Whether it pays on this machine; None where it is not for machines like it. No file has it: it varies."""
        time = self.written.time
        if time is None:
            return None
        pays = "" if time < 1 else ", so it does not pay on a machine like this: ship fp32 to such devices"
        return f"a frame takes {time:.2f} of the time that it takes in fp32 here{pays}"


def convert(
    folder: Path, precision: Precision, recipe: Recipe, record: StageRecord, *, symmetric: bool = False
) -> Converted:
    """Write the traced graphs in `folder` in `precision`; raises ParityError if the files have other types.

    `symmetric`: as `variant_of`.
    """
    variant = variant_of(precision, symmetric=symmetric)
    written = variant.write(folder, lambda: training_clips(recipe, record))
    layers, sizes = inspect(folder, written.files)
    refuse_other(precision, variant.kinds, layers)
    used = used_files(folder, written.files.values())
    for file in [path for path in folder.rglob("*") if path.is_file()]:
        if file.relative_to(folder).as_posix() not in used:
            file.unlink()
    return Converted(written, variant.policy, layers, sizes)
