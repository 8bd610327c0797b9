"""The parity certificate: what the gate measured and allowed, as written to `parity.json`."""

from __future__ import annotations

import msgspec

from stpr.runtime.contract.bundle import PARITY
from stpr.runtime.contract.manifest import ParitySummary, Precision


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The difference of one output of one part, over all clips it was compared on."""

    part: str  # encoder, expert K, head, live (encoder, then head), clip
    output: str
    worst: float  # largest absolute difference from PyTorch's float32
    scale: float  # largest absolute value of PyTorch
    noise: float  # largest difference of PyTorch's float32 from its own float64, and of batch 1 from batch 3
    tolerance: float  # largest absolute difference that the policy allows

    @property
    def holds(self) -> bool:
        """Whether it is within tolerance; False for NaN."""
        return self.worst <= self.tolerance

    @property
    def relative_tolerance(self) -> float:
        """The tolerance relative to the scale if that exceeds 1, as the device compares."""
        return self.tolerance / max(1.0, self.scale)


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a part makes the same decisions as PyTorch.

    A clip is undecided if PyTorch's own margin between its first and second choice is too small for the policy.
    """

    part: str
    decision: str  # top-1 (largest logit) or routing (largest weight)
    clips: int
    undecided: int
    disagreeing: int  # decided clips on which the part decides differently

    @property
    def share(self) -> float:
        """The share of decided clips that agree."""
        decided = self.clips - self.undecided
        return 1.0 - self.disagreeing / decided if decided else 1.0

    @property
    def holds(self) -> bool:
        """Whether every decided clip agrees."""
        return self.disagreeing == 0


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """A share of the real clips: with equal decisions, classified correctly, or accepted as known."""

    what: str  # top-1 agreement, routing agreement, accuracy, known recall
    clips: int
    pytorch: float
    engine: float
    loss: float | None = None  # largest loss allowed, at least one clip; None: only reported

    @property
    def holds(self) -> bool:
        """Whether the loss is within what is allowed."""
        return self.loss is None or self.pytorch - self.engine <= max(self.loss, 1 / max(1, self.clips)) + 1e-9


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """The training clips used for calibration: their number, and a digest of their content in order."""

    clips: int
    sha256: str


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """The gate's measurements. A bundle is only written if all differences, agreements and rates hold."""

    precision: Precision
    engine: str
    real_clips: tuple[str, ...]  # as in the stage's predictions.csv, without their common folder
    test_clips: int  # number in the list, from which the above were chosen
    random_seeds: tuple[int, ...]  # of the clips of random pixels
    batches: tuple[int, ...]
    differences: tuple[Difference, ...]
    agreements: tuple[Agreement, ...]
    rates: tuple[Rate, ...]
    versions: dict[str, str]
    calibration: Calibration | None = None
    layers: dict[str, dict[str, int]] = {}  # part -> element type of weights -> layers; as found in the files
    bytes: dict[str, int] = {}  # element type -> bytes of weights

    def rate(self, what: str) -> Rate | None:
        """The rate of that name, None if it was not measured."""
        return next((one for one in self.rates if one.what == what), None)


def certificate_file(precision: Precision, first: Precision) -> str:
    """The file name of a certificate; that of the `first` (default) precision has the plain name."""
    return PARITY if precision == first else f"parity-{precision}.json"


def summary(certificate: Certificate) -> ParitySummary:
    """The summary in the manifest."""
    # Experts are left out, since a device does not run them separately.
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
