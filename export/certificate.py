"""The parity certificate (`parity.json`): what was compared with PyTorch, on what, and how far apart it was."""

from __future__ import annotations

from typing import Final

import msgspec

from stpr.runtime.contract.manifest import ParitySummary

FLOOR: Final = 1e-4  # of the output's largest value
CEILING: Final = 5e-2  # more than that is no rounding, whatever PyTorch's own noise
NOISE_FACTOR: Final = 32  # another order of summation, and many more clips than the noise was measured on


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One output of one part, over all clips it was compared on."""

    part: str  # encoder, expert K, head, live (encoder, then head), clip
    output: str
    worst: float  # largest absolute difference from PyTorch's float32
    scale: float  # largest absolute value that PyTorch gave
    noise: float  # largest difference of PyTorch's float32 from its own float64, and of batch 1 from batch 3

    @property
    def tolerance(self) -> float:
        """What may be off: a ten-thousandth of the scale, or several times PyTorch's own noise."""
        return min(max(FLOOR * self.scale, NOISE_FACTOR * self.noise), CEILING * self.scale)

    @property
    def holds(self) -> bool:
        """Whether it is within tolerance; not-a-number never is."""
        return self.worst <= self.tolerance


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a part decides as PyTorch does.

    A clip is undecided where PyTorch's margin between its first and second choice is within twice its own noise, or
    where its float32 and float64 choose differently: there is nothing to agree with.
    """

    part: str
    decision: str  # top-1 (largest logit) or routing (largest weight)
    clips: int
    undecided: int
    disagreeing: int  # decided clips on which the part chooses otherwise

    @property
    def share(self) -> float:
        """Agreeing clips among the decided ones."""
        decided = self.clips - self.undecided
        return 1.0 - self.disagreeing / decided if decided else 1.0

    @property
    def holds(self) -> bool:
        """Whether every decided clip agrees."""
        return self.disagreeing == 0


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """Share of the real clips whose label is the first choice."""

    pytorch: float
    engine: float


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A part, what it may be off by, and whether it passed."""

    part: str
    what: str
    tolerance: float
    relative: float  # largest difference as a share of the scale
    holds: bool


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate measured. A bundle is only written where every verdict holds."""

    precision: str
    engine: str
    real_clips: tuple[str, ...]  # as named in the stage's predictions.csv, without the folder they share
    random_seeds: tuple[int, ...]  # of clips of random pixels
    batches: tuple[int, ...]
    differences: tuple[Difference, ...]
    agreements: tuple[Agreement, ...]
    accuracy: Accuracy
    versions: dict[str, str]
    verdicts: tuple[Verdict, ...] = ()


def verdicts(differences: tuple[Difference, ...], agreements: tuple[Agreement, ...]) -> tuple[Verdict, ...]:
    """One line per thing that was compared."""
    numbers = [
        Verdict(
            part=one.part,
            what=one.output,
            tolerance=one.tolerance,
            relative=one.worst / one.scale if one.scale else one.worst,
            holds=one.holds,
        )
        for one in differences
    ]
    decisions = [
        Verdict(part=one.part, what=one.decision, tolerance=0.0, relative=1.0 - one.share, holds=one.holds)
        for one in agreements
    ]
    return (*numbers, *decisions)


def summary(certificate: Certificate) -> ParitySummary:
    """What the manifest carries of it; the tolerance is relative to an output's largest value where that exceeds 1."""
    graphs = [one for one in certificate.differences if not one.part.startswith("expert")]
    return ParitySummary(
        clips=len(certificate.real_clips),
        worst_logits=max(one.worst for one in graphs if one.output == "logits"),
        worst_routing=max(one.worst for one in graphs if one.output == "routing"),
        worst_familiarity=max(one.worst for one in graphs if one.output == "familiarity"),
        top1_agreement=min(one.share for one in certificate.agreements if one.decision == "top-1"),
        routing_agreement=min(one.share for one in certificate.agreements if one.decision == "routing"),
        tolerance=max(one.tolerance / max(1.0, one.scale) for one in graphs),
    )
