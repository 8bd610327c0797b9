"""What the parity gate has measured so far."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from stpr.export.certificate import Agreement, Difference
from stpr.runtime.contract.preprocess import Array

CHOICES: Final[Mapping[str, str]] = {"logits": "top-1", "routing": "routing"}


@dataclass(slots=True)
class Measured:
    """The largest figures of one output."""

    worst: float = 0.0
    scale: float = 0.0
    noise: float = 0.0


@dataclass(slots=True)
class Choices:
    """One entry per clip."""

    same: list[bool] = field(default_factory=list)
    margin: list[float] = field(default_factory=list)
    settled: list[bool] = field(default_factory=list)  # PyTorch's float64 chooses the same


@dataclass(slots=True)
class Ledger:
    """Everything measured so far, by part and output."""

    numbers: defaultdict[tuple[str, str], Measured] = field(default_factory=lambda: defaultdict(Measured))
    choices: defaultdict[tuple[str, str], Choices] = field(default_factory=lambda: defaultdict(Choices))
    names: list[str] = field(default_factory=list)
    right: dict[str, int] = field(default_factory=lambda: {"pytorch": 0, "engine": 0})

    def compare(self, part: str, output: str, found: Array, wanted: Array) -> None:
        """Note how far an engine's output is from PyTorch's; another shape is infinitely far."""
        measured = self.numbers[part, output]
        if not wanted.size:
            return
        off = float(np.abs(found - wanted).max()) if found.shape == wanted.shape else float("inf")
        measured.worst = float(np.fmax(measured.worst, off)) if np.isfinite(off) else float("inf")
        measured.scale = max(measured.scale, float(np.abs(wanted).max()))

    def rounds(self, part: str, output: str, found: Array, wanted: Array) -> None:
        """Note how far PyTorch is from itself."""
        if not wanted.size:
            return
        measured = self.numbers[part, output]
        measured.noise = max(measured.noise, float(np.abs(found - wanted).max()))

    def differences(self) -> tuple[Difference, ...]:
        """The figures of the certificate."""
        return tuple(
            Difference(part=part, output=output, worst=one.worst, scale=one.scale, noise=one.noise)
            for (part, output), one in self.numbers.items()
        )

    def agreements(self) -> tuple[Agreement, ...]:
        """The decisions of the certificate."""
        found = []
        for (part, output), one in self.choices.items():
            noise = self.numbers[part, output].noise
            firm = [ok and margin > 2 * noise for ok, margin in zip(one.settled, one.margin, strict=True)]
            wrong = sum(sure and not same for sure, same in zip(firm, one.same, strict=True))
            found.append(
                Agreement(
                    part=part,
                    decision=CHOICES[output],
                    clips=len(firm),
                    undecided=len(firm) - sum(firm),
                    disagreeing=wrong,
                )
            )
        return tuple(found)

    def note_choices(self, part: str, output: str, found: Array, wanted: Array, exact: Array) -> None:
        """Note each clip's first choice by the engine, by PyTorch and by its float64: all `(B, choices)`."""
        choices, ranked = self.choices[part, output], np.sort(wanted, axis=1)
        choices.same += (found.argmax(axis=1) == wanted.argmax(axis=1)).tolist()
        choices.settled += (exact.argmax(axis=1) == wanted.argmax(axis=1)).tolist()
        alone = wanted.shape[1] == 1
        choices.margin += [np.inf] * len(wanted) if alone else (ranked[:, -1] - ranked[:, -2]).tolist()
