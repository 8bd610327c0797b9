"""The precisions of a bundle, one file for each: how its graphs are written, and what they must hold to.

To add one: its file, and here its import and its entry. Every bundle holds all of them, and a device runs the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stpr.export.parity.policy import Policy
from stpr.export.precisions import fp32
from stpr.runtime.contract.manifest import GraphName, Precision


@dataclass(frozen=True, slots=True)
class Variant:
    """A precision to the rest of the exporter.

    `write` finds the traced graphs (`graphs/cut.FILES`) and `weights/` in a folder, leaves them as they are, puts its
    own beside them and returns the file of each graph. Inputs, outputs, and the names of the experts' outputs inside
    the head stay those of the traced graphs.
    """

    write: Callable[[Path], Mapping[GraphName, str]]
    policy: Policy


PRECISIONS: Final[Mapping[Precision, Variant]] = {
    "fp32": Variant(fp32.write, fp32.SameNumbers()),
}
