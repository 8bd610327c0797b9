"""Policies: the tolerances that files of one precision must satisfy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from stpr.export.parity.certificate import Agreement, Difference, Rate
from stpr.export.parity.measurements import GOLDEN, Measurements, Numbers, Where

DECISIONS: Final[Mapping[str, str]] = {"logits": "top-1", "routing": "routing"}  # output -> name of its decision


@dataclass(frozen=True, slots=True)
class Judgement:
    """All differences with tolerances, agreements, and rates; `remedy`: what to do if one does not hold, if known."""

    differences: tuple[Difference, ...]
    agreements: tuple[Agreement, ...]
    rates: tuple[Rate, ...] = ()
    remedy: str = ""


def difference(where: Where, one: Numbers, tolerance: float) -> Difference:
    """The Difference for an output with the given tolerance."""
    return Difference(
        part=where.part, output=where.output, worst=one.worst, scale=one.scale, noise=one.noise, tolerance=tolerance
    )


class Policy(Protocol):
    """Judges a candidate by numerical differences, decisions, or both."""

    def judge(self, measured: Measurements) -> Judgement:
        """Judge the measurements so far."""


def agreements(measured: Measurements, margins: Mapping[Where, float]) -> tuple[Agreement, ...]:
    """Agreement of all decisions of all parts; a clip is decided if its margin exceeds that given for the output."""
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
    """The losses against PyTorch's float32 that a precision allows; None: no limit."""

    margin: float = 0.0  # of the first choice over the second, above which decisions must agree
    top1: float | None = None  # minimum share of real clips with the same first choice
    routing: float | None = None  # the same for the expert with the largest weight
    accuracy: float | None = None  # maximum drop of accuracy
    recall: float | None = None  # maximum drop of the share accepted as known
    logits: float = 0.0  # maximum error of a logit, relative to the largest if that exceeds 1
    others: float = 0.0  # minimum tolerance for the other outputs on the device, likewise relative


NO_LIMITS: Final = Limits()
ROOM: Final = 2.0  # factor on measured differences, since other machines sum in another order


@dataclass(frozen=True, slots=True)
class ByMargin:
    """Clear decisions must agree, and rates may drop a little; tolerances for numbers follow from the measurements."""

    limits: Limits
    remedy: str

    def judge(self, measured: Measurements) -> Judgement:
        """Judge; the only fixed numerical bound is on the golden clip's logits, which a device checks.

        Its other outputs may be off by what real clips showed, in units of its own values: random pixels lie far off.
        """
        differences = []
        for where, one in measured.numbers.items():
            scale = max(1.0, one.scale)
            if where.part == GOLDEN:
                bound = self.limits.logits * scale
            else:
                bound = max(ROOM * one.worst, 0.0 if where.output == "logits" else self.limits.others * scale)
            differences.append(difference(where, one, bound if math.isfinite(one.worst) else 0.0))
        for output, first in measured.first.items():
            if output != "logits":
                bound = max(ROOM * measured.real[output].worst, self.limits.others * max(1.0, first.scale))
                differences.append(
                    difference(Where(GOLDEN, output), first, bound if math.isfinite(first.worst) else 0.0)
                )
        return Judgement(
            tuple(differences),
            agreements(measured, dict.fromkeys(measured.choices, self.limits.margin)),
            rates(measured, self.limits),
            self.remedy,
        )


def rates(measured: Measurements, limits: Limits) -> tuple[Rate, ...]:
    """All rates over the real clips, with their allowed losses."""
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
