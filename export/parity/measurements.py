"""Measured differences between candidate and PyTorch, collected over clips; the policy decides what is allowed."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from stpr.runtime.contract.preprocess import Array

GOLDEN: Final = "golden"  # the first real clip through the clip graph: stored for the device's check


class Where(NamedTuple):
    """An output of a part; parts are encoder, expert K, head, live (encoder, then head), clip and golden."""

    part: str
    output: str


@dataclass(slots=True)
class Numbers:
    """Maxima over clips for one output."""

    worst: float = 0.0  # difference between candidate and PyTorch
    scale: float = 0.0  # of PyTorch's values
    noise: float = 0.0  # difference between PyTorch and PyTorch: float32 and float64, batch 1 and batch 3

    def add(self, found: Array, wanted: Array) -> None:
        """Take in a difference from PyTorch; infinite for another shape, NaN or infinity."""
        if not wanted.size:
            return
        off = float(np.abs(found - wanted).max()) if found.shape == wanted.shape else float("inf")
        self.worst = float(np.fmax(self.worst, off)) if np.isfinite(off) else float("inf")
        self.scale = max(self.scale, float(np.abs(wanted).max()))


@dataclass(slots=True)
class Choices:
    """First choices by one output, one entry per clip."""

    same: list[bool] = field(default_factory=list)  # candidate and PyTorch choose the same
    margin: list[float] = field(default_factory=list)  # of PyTorch's first choice over its second
    stable: list[bool] = field(default_factory=list)  # PyTorch's float64 chooses the same


@dataclass(slots=True)
class Measurements:
    """All measurements so far."""

    numbers: defaultdict[Where, Numbers] = field(default_factory=lambda: defaultdict(Numbers))
    choices: defaultdict[Where, Choices] = field(default_factory=lambda: defaultdict(Choices))
    # Outputs of the clip graph on the real clips, and on the first of them, which is the golden clip.
    real: defaultdict[str, Numbers] = field(default_factory=lambda: defaultdict(Numbers))
    first: defaultdict[str, Numbers] = field(default_factory=lambda: defaultdict(Numbers))
    clips: list[str] = field(default_factory=list)  # names of the real ones
    right: dict[str, int] = field(default_factory=lambda: {"pytorch": 0, "engine": 0})
    known: dict[str, int] | None = None  # clips above their thresholds; None without thresholds
    same: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("logits", "routing"), 0))  # of the real clips

    def compare(self, where: Where, found: Array, wanted: Array) -> None:
        """Add the difference of an output from PyTorch's; infinite for another shape, NaN or infinity."""
        self.numbers[where].add(found, wanted)

    def add_noise(self, where: Where, one: Array, other: Array) -> None:
        """Add PyTorch's own rounding error, as the difference of two of its results."""
        if one.size:
            numbers = self.numbers[where]
            numbers.noise = max(numbers.noise, float(np.abs(one - other).max()))

    def add_choices(self, where: Where, found: Array, wanted: Array, exact: Array) -> None:
        """Add each clip's first choice by the candidate, by PyTorch and by its float64: all `(B, choices)`."""
        choices, ranked = self.choices[where], np.sort(wanted, axis=1)
        choices.same += (found.argmax(axis=1) == wanted.argmax(axis=1)).tolist()
        choices.stable += (exact.argmax(axis=1) == wanted.argmax(axis=1)).tolist()
        alone = wanted.shape[1] == 1
        choices.margin += [np.inf] * len(wanted) if alone else (ranked[:, -1] - ranked[:, -2]).tolist()
