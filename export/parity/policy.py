"""What files of one precision must hold to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from stpr.export.parity.certificate import Agreement, Difference
from stpr.export.parity.measurements import Measurements, Numbers
from stpr.runtime.contract.manifest import Precision

FLOOR: Final = 1e-4  # of the output's largest value
CEILING: Final = 5e-2  # more than that is no rounding, whatever PyTorch's own noise
NOISE_FACTOR: Final = 32  # another order of summation, and many more clips than the noise was measured on
DECISIONS: Final[Mapping[str, str]] = {"logits": "top-1", "routing": "routing"}  # an output's first choice, by name


@dataclass(frozen=True, slots=True)
class Judgement:
    """Every difference with its tolerance, and every decision."""

    differences: tuple[Difference, ...]
    agreements: tuple[Agreement, ...]


class Policy(Protocol):
    """Judges a candidate by numbers, by decisions or by both."""

    @property
    def precision(self) -> Precision:
        """Of the files that it judges."""

    def judge(self, measured: Measurements) -> Judgement:
        """What holds and what does not, of what is measured so far."""


class SameNumbers:
    """fp32: every number within PyTorch's own rounding, and every decision that PyTorch itself is sure of."""

    precision: Final = "fp32"

    def judge(self, measured: Measurements) -> Judgement:
        """A clip is undecided where its margin is within twice PyTorch's noise, or its float64 chooses differently."""
        return Judgement(
            differences=tuple(
                Difference(
                    part=where.part,
                    output=where.output,
                    worst=one.worst,
                    scale=one.scale,
                    noise=one.noise,
                    tolerance=tolerance(one),
                )
                for where, one in measured.numbers.items()
            ),
            agreements=agreements(measured, {where: 2 * one.noise for where, one in measured.numbers.items()}),
        )


def tolerance(numbers: Numbers) -> float:
    """What may be off: a ten-thousandth of the scale, or several times PyTorch's own noise."""
    return min(max(FLOOR * numbers.scale, NOISE_FACTOR * numbers.noise), CEILING * numbers.scale)


def agreements(measured: Measurements, margins: Mapping[tuple[str, str], float]) -> tuple[Agreement, ...]:
    """Every decision of every part; only a clip whose margin exceeds that of its output is decided."""
    found = []
    for where, choices in measured.choices.items():
        decided = [
            stable and margin > margins[where] for stable, margin in zip(choices.stable, choices.margin, strict=True)
        ]
        found.append(
            Agreement(
                part=where.part,
                decision=DECISIONS[where.output],
                clips=len(decided),
                undecided=len(decided) - sum(decided),
                disagreeing=sum(sure and not same for sure, same in zip(decided, choices.same, strict=True)),
            )
        )
    return tuple(found)
