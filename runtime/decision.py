"""From the head's outputs (logits, routing weights, familiarity) to a decision: a label, or unknown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec
import numpy as np

from stpr.runtime.contract.errors import EngineError
from stpr.runtime.contract.manifest import Manifest
from stpr.runtime.contract.preprocess import Array

TOP = 3
STILL = -60.0  # evidence below this: less happens than in any clip of the likeliest class
# The last four are of the picture: a decision about it would mean nothing (filters/watchdog).
State: TypeAlias = Literal["known", "unknown", "warming_up", "frozen", "black", "damaged", "slow"]


class BundleId(msgspec.Struct, frozen=True, kw_only=True):
    """Which bundle spoke."""

    name: str
    stage: int
    digest: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The label with its score, the likeliest classes, and the weight that each stage's expert had.

    What is unknown has no label and no score; the classes that it is most like are in `top` all the same.
    """

    label: str | None = None
    score: float = 0.0
    top: tuple[tuple[str, float], ...] = ()
    routing: dict[str, float] = {}  # stage -> weight
    state: State = "warming_up"
    # Log odds of one whole action of the likeliest class, where the bundle tells events; what is stranger than its
    # threshold pays for it.
    evidence: float | None = None


class Prediction(Decision, frozen=True, kw_only=True):
    """A decision, when and on which frame of which source it fell, and by which bundle."""

    time: str  # ISO 8601 with the zone
    frame: int
    latency_ms: float  # capture to prediction for live sources, processing time for files
    bundle: BundleId
    media_time: float | None = None  # seconds into a recorded source, where the frame is to be found; None for live
    source: str
    age_ms: float | None = None  # of the frame when this is said, by the stream's own clock if it has one; live alone

    def line(self) -> dict[str, object]:
        """What a line of `--json` holds, flat, in the order that scripts have seen from the start."""
        line = {"time": self.time, "frame": self.frame} | msgspec.structs.asdict(self)
        return {key: found for key, found in line.items() if found is not None or key not in {"evidence", "age_ms"}}


WARMING_UP = Decision()


def decide(
    manifest: Manifest, logits: Array, routing: Array, familiarity: Array, evidence: Array | None = None
) -> Decision:
    """The decision for one clip's logits `(C,)`, routing `(E,)`, familiarity `()` and perhaps evidence `(C,)`.

    What is unknown by a little may be an action all the same, a quicker one or before a shakier camera than any that
    was learnt: evidence pays a nat for each standard deviation that familiarity lacks, and events go by evidence.
    Raises EngineError if any number is not finite (NaN or infinite).
    """
    if not all(np.isfinite(found).all() for found in (logits, routing, familiarity, evidence) if found is not None):
        raise EngineError(
            "the head gave numbers that are not finite; check the bundle on this machine with `stpr-check`,"
            " or choose another --engine."
        )
    scores = softmax(logits, manifest.temperature)
    best = np.argsort(-logits, kind="stable")[:TOP]  # by logits: scores of near-equal ones round to a tie
    top = tuple((manifest.class_names[index], round(float(scores[index]), 6)) for index in best)
    weights = {str(stage): round(float(weight), 6) for stage, weight in enumerate(routing, start=1)}
    lacking = _lacking(manifest, int(best[0]), float(familiarity))
    odds = None if evidence is None else round(float(evidence[best[0]]) - lacking, 4)
    if lacking > 0 or (odds is not None and odds < STILL):
        return Decision(top=top, routing=weights, state="unknown", evidence=odds)
    return Decision(label=top[0][0], score=top[0][1], top=top, routing=weights, state="known", evidence=odds)


def loudest(decisions: Sequence[Decision]) -> Decision:
    """Of one moment's decisions, each of another span, the one with the highest evidence; the first where none has any.

    Of several spans some speak louder by chance: evidence pays half the logarithm of their number.
    """
    best = max(decisions, key=lambda decision: -math.inf if decision.evidence is None else decision.evidence)
    if best.evidence is None:
        return best
    return msgspec.structs.replace(best, evidence=round(best.evidence - 0.5 * math.log(len(decisions)), 4))


def _lacking(manifest: Manifest, best: int, familiarity: float) -> float:
    """By how much a clip is less familiar than clips of its likeliest class's stage must be; 0 for a known one."""
    if manifest.unknown is None:
        return 0.0
    threshold = manifest.unknown.thresholds[manifest.classes[best].stage - 1]
    return 0.0 if threshold is None else max(0.0, threshold - familiarity)


def softmax(logits: Array, temperature: float) -> Array:
    """Scores `(C,)` that sum to 1, in float64: the softmax of logits / temperature."""
    scaled = (logits.astype(np.float64) - logits.max()) / temperature
    powers = np.exp(scaled)
    return np.asarray(powers / powers.sum())
