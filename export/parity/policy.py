"""What files of one precision must hold to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from stpr.export.parity.certificate import Agreement, Difference
from stpr.export.parity.measurements import Measurements, Where

DECISIONS: Final[Mapping[str, str]] = {"logits": "top-1", "routing": "routing"}  # an output's first choice, by name


@dataclass(frozen=True, slots=True)
class Judgement:
    """Every difference with its tolerance, and every decision."""

    differences: tuple[Difference, ...]
    agreements: tuple[Agreement, ...]


class Policy(Protocol):
    """Judges a candidate by numbers, by decisions or by both."""

    def judge(self, measured: Measurements) -> Judgement:
        """What holds and what does not, of what is measured so far."""


def agreements(measured: Measurements, margins: Mapping[Where, float]) -> tuple[Agreement, ...]:
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
