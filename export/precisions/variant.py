"""What a precision is to the rest of the exporter."""

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
    """Frames of the stage's training clips, one of each: what the encoder takes, in batches of one."""

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
    """How graphs are written in a precision, and what they must hold to.

    `write` finds the traced graphs (`graphs/cut.FILES`) and `weights/` in a folder, leaves them as they are, and puts
    its own beside them; it asks for training clips only if it calibrates. Inputs, outputs, and the names of the
    experts' outputs inside the head stay those of the traced graphs. `kinds` are the parts whose layers are to have
    their weights in another element type than float32.
    """

    write: Write
    policy: Policy
    kinds: Mapping[str, str]
