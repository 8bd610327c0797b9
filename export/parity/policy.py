"""What files of one precision must hold to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from stpr.export.parity.certificate import Agreement, Difference, Rate
from stpr.export.parity.measurements import GOLDEN, Measurements, Numbers, Where

DECISIONS: Final[Mapping[str, str]] = {"logits": "top-1", "routing": "routing"}  # an output's first choice, by name


@dataclass(frozen=True, slots=True)
class Judgement:
    """Every difference with its tolerance, every decision, and every rate."""

    differences: tuple[Difference, ...]
    agreements: tuple[Agreement, ...]
    rates: tuple[Rate, ...] = ()


def difference(where: Where, one: Numbers, tolerance: float) -> Difference:
    """What was measured of an output, with what a policy allows of it."""
    return Difference(
        part=where.part, output=where.output, worst=one.worst, scale=one.scale, noise=one.noise, tolerance=tolerance
    )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a precision may lose against PyTorch's float32; None: anything."""

    margin: float = 0.0  # of the first choice over the second, from which on decisions must agree
    top1: float | None = None  # the least share of real clips with the same first choice
    routing: float | None = None  # the same of the expert with the largest weight
    accuracy: float | None = None  # the most that the share of right clips may fall
    recall: float | None = None  # the same of the clips that are known
    logits: float = 0.0  # the most that a logit of a clip may be off, relative to the largest where that exceeds 1
    others: float = 0.0  # what a device is allowed at least of the other outputs, relative likewise


NO_LIMITS: Final = Limits()
ROOM: Final = 2.0  # times what was measured here: another machine multiplies in another order


@dataclass(frozen=True, slots=True)
class ByMargin:
    """Decisions that are clear must agree, and rates may fall a little; numbers are bounded by what was measured."""

    limits: Limits

    def judge(self, measured: Measurements) -> Judgement:
        """Of the numbers, the golden clip's logits alone have a bound; a device repeats that clip."""
        differences = []
        for where, one in measured.numbers.items():
            scale = max(1.0, one.scale)
            if where.part == GOLDEN:
                bound = self.limits.logits * scale
            else:
                bound = max(ROOM * one.worst, 0.0 if where.output == "logits" else self.limits.others * scale)
            differences.append(difference(where, one, bound if math.isfinite(one.worst) else 0.0))
        return Judgement(
            tuple(differences),
            agreements(measured, dict.fromkeys(measured.choices, self.limits.margin)),
            rates(measured, self.limits),
        )


def rates(measured: Measurements, limits: Limits) -> tuple[Rate, ...]:
    """Every rate over the real clips, with what it may lose."""
    clips = len(measured.clips)
    if not clips:
        return ()
    counts = {
        "top-1 agreement": (clips, measured.same["logits"], limits.top1 and 1 - limits.top1),
        "routing agreement": (clips, measured.same["routing"], limits.routing and 1 - limits.routing),
        "accuracy": (measured.right["pytorch"], measured.right["engine"], limits.accuracy),
    }
    if measured.known is not None:
        counts["known recall"] = (measured.known["pytorch"], measured.known["engine"], limits.recall)
    return tuple(
        Rate(what=what, clips=clips, pytorch=pytorch / clips, engine=engine / clips, loss=loss)
        for what, (pytorch, engine, loss) in counts.items()
    )
