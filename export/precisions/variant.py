"""The interface of precisions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from stpr.export.parity.certificate import Calibration
from stpr.export.parity.policy import Policy
from stpr.runtime.contract.manifest import GraphName
from stpr.runtime.contract.preprocess import Array

FULL: Final = "float32"


@dataclass(frozen=True, slots=True)
class Training:
    """One frame per training clip of the stage, as encoder inputs with batch size 1."""

    feeds: Callable[[], Iterator[dict[str, Array]]]
    record: Calibration


@dataclass(frozen=True, slots=True)
class Written:
    """The file of each graph, and what it was calibrated on, if it was.

    `time` is what a frame takes here, in units of what it takes in float32, where that is what the precision is for.
    """

    files: Mapping[GraphName, str]
    calibration: Calibration | None = None
    time: float | None = None


Write: TypeAlias = Callable[[Path, Callable[[], Training]], Written]


@dataclass(frozen=True, slots=True)
class Variant:
    """A precision: how to write its graphs, and the policy that they must satisfy.

    `write` reads the traced graphs (`graphs/cut.FILES`) and `weights/` in a folder, leaves them unchanged, and writes
    its own files beside them; it requests training clips only if it calibrates. It must keep inputs, outputs, and the
    names of the experts' outputs inside the head. `kinds`: element types of weights, for parts that are not float32.
    """

    write: Write
    policy: Policy
    kinds: Mapping[str, str]
