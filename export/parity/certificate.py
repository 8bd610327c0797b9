"""What the parity gate measured and allowed, as it is written to `parity.json` and its like."""

from __future__ import annotations

import msgspec

from stpr.runtime.contract.bundle import PARITY
from stpr.runtime.contract.manifest import ParitySummary, Precision


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One output of one part, over all clips it was compared on."""

    part: str  # encoder, expert K, head, live (encoder, then head), clip
    output: str
    worst: float  # largest absolute difference from PyTorch's float32
    scale: float  # largest absolute value that PyTorch gave
    noise: float  # largest difference of PyTorch's float32 from its own float64, and of batch 1 from batch 3
    tolerance: float  # largest absolute difference that the policy allows

    @property
    def holds(self) -> bool:
        """Whether it is within tolerance; NaN never is."""
        return self.worst <= self.tolerance

    @property
    def relative_tolerance(self) -> float:
        """The tolerance relative to the scale where that exceeds 1, as a device compares."""
        return self.tolerance / max(1.0, self.scale)


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a part decides as PyTorch does.

    A clip is undecided where the policy finds PyTorch's own margin between its first and second choice too small:
    there is nothing to agree with.
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


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """A share of the real clips: on which both choose the same, that are labelled right, or that are known."""

    what: str  # top-1 agreement, routing agreement, accuracy, known recall
    clips: int
    pytorch: float
    engine: float
    loss: float | None = None  # the most that may be lost, or one clip where that is more; None: told, not judged

    @property
    def holds(self) -> bool:
        """Whether no more is lost than is allowed."""
        return self.loss is None or self.pytorch - self.engine <= max(self.loss, 1 / max(1, self.clips)) + 1e-9


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Training clips of the stage that ranges were taken from: how many, and a digest of their content, in order."""

    clips: int
    sha256: str


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate measured. A bundle is only written where every difference and agreement holds."""

    precision: Precision
    engine: str
    real_clips: tuple[str, ...]  # as named in the stage's predictions.csv, without the folder they share
    test_clips: int  # that the list names; spread over its classes are those above
    random_seeds: tuple[int, ...]  # of clips of random pixels
    batches: tuple[int, ...]
    differences: tuple[Difference, ...]
    agreements: tuple[Agreement, ...]
    rates: tuple[Rate, ...]
    versions: dict[str, str]
    calibration: Calibration | None = None
    layers: dict[str, dict[str, int]] = {}  # part -> element type of weights -> layers; as found in the files
    bytes: dict[str, int] = {}  # element type -> bytes of weights

    def rate(self, what: str) -> Rate | None:
        """The rate of that name, None where it could not be measured."""
        return next((one for one in self.rates if one.what == what), None)


def certificate_file(precision: Precision, first: Precision) -> str:
    """Where a bundle keeps a certificate; that of its `first` precision, which a device runs, has the plain name."""
    return PARITY if precision == first else f"parity-{precision}.json"


def summary(certificate: Certificate) -> ParitySummary:
    """The part of it that the manifest carries."""
    # A device runs no expert alone.
    seen = [one for one in certificate.differences if not one.part.startswith("expert")]
    by_output = {output: [one for one in seen if one.output == output] for output in {one.output for one in seen}}
    golden = {one.output: one.relative_tolerance for one in seen if one.part == "golden"}
    worst = {output: max(one.worst for one in found) for output, found in by_output.items()}
    return ParitySummary(
        clips=len(certificate.real_clips),
        worst_logits=worst["logits"],
        worst_routing=worst["routing"],
        worst_familiarity=worst["familiarity"],
        top1_agreement=min(one.share for one in certificate.agreements if one.decision == "top-1"),
        routing_agreement=min(one.share for one in certificate.agreements if one.decision == "routing"),
        tolerances={name: max(one.relative_tolerance for one in found) for name, found in by_output.items()} | golden,
    )
