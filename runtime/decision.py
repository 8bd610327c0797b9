"""Turn the head's outputs (logits, routing weights, familiarity) into a decision: a label, or unknown."""

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
SELDOM = frozenset({"evidence", "span", "age_ms"})  # keys of a line that are left out where they have no value
STILL = -60.0  # evidence below this: less motion than in any clip of the most likely class
# Evidence below this: a window of a class that moves shows little of it, as when nobody acts. Chosen on streams of
# training actors (METHOD.md, "Events on untrimmed videos"); events need more.
FAINTEST = -2.0
# The last four are set if the picture is useless, so a decision would be meaningless (filters/watchdog).
State: TypeAlias = Literal["known", "unknown", "warming_up", "frozen", "black", "damaged", "slow"]


class BundleId(msgspec.Struct, frozen=True, kw_only=True):
    """The identity of the bundle that made a decision."""

    name: str
    stage: int
    digest: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The label with its score, the most likely classes, and the routing weight of each stage's expert.

    An unknown clip has no label and no score; `top` still has the most similar classes.
    """

    label: str | None = None
    score: float = 0.0
    top: tuple[tuple[str, float], ...] = ()
    routing: dict[str, float] = {}  # stage -> weight
    state: State = "warming_up"
    # Log odds of one whole action of the most likely class, if the bundle supports events; reduced if the familiarity
    # is below its threshold.
    evidence: float | None = None
    span: float | None = None  # seconds that the window of this evidence covers, of several that are judged


class Prediction(Decision, frozen=True, kw_only=True):
    """A decision, with time, frame, source and bundle."""

    time: str  # ISO 8601 with time zone
    frame: int
    latency_ms: float  # capture to prediction for live sources, processing time for files
    bundle: BundleId
    media_time: float | None = None  # position in a recorded source in seconds; None for live
    source: str
    age_ms: float | None = None  # age of the frame at the prediction, by the stream's clock if it has one; live only

    def line(self) -> dict[str, object]:
        """The content of a line of `--json`, flat, in a stable order."""
        line = {"time": self.time, "frame": self.frame} | msgspec.structs.asdict(self)
        return {key: found for key, found in line.items() if found is not None or key not in SELDOM}


WARMING_UP = Decision()


def decide(
    manifest: Manifest, logits: Array, routing: Array, familiarity: Array, evidence: Array | None = None
) -> Decision:
    """The decision for one clip's logits `(C,)`, routing `(E,)`, familiarity `()` and, if available, evidence `(C,)`.

    It is unknown if the familiarity is below its threshold, or the evidence is less than the class needs. A clip
    slightly below the threshold may still be an action, faster or with a shakier camera than those learnt: evidence,
    which events are based on, is reduced by one nat per standard deviation that familiarity lacks. Raises EngineError
    for NaN or infinite outputs.
    """
    if not all(np.isfinite(found).all() for found in (logits, routing, familiarity, evidence) if found is not None):
        raise EngineError(
            "the head's outputs are NaN or infinite; check the bundle on this machine with `stpr-check`,"
            " or choose another --engine."
        )
    scores = softmax(logits, manifest.temperature)
    best = np.argsort(-logits, kind="stable")[:TOP]  # by logits, since scores of near-equal ones round to ties
    top = tuple((manifest.class_names[index], round(float(scores[index]), 6)) for index in best)
    weights = {str(stage): round(float(weight), 6) for stage, weight in enumerate(routing, start=1)}
    lacking = _lacking(manifest, int(best[0]), float(familiarity))
    odds = None if evidence is None else round(float(evidence[best[0]]) - lacking, 4)
    least = FAINTEST if manifest.classes[best[0]].moves else STILL
    if lacking > 0 or (odds is not None and odds < least):
        return Decision(top=top, routing=weights, state="unknown", evidence=odds)
    return Decision(label=top[0][0], score=top[0][1], top=top, routing=weights, state="known", evidence=odds)


def strongest(decisions: Sequence[Decision], spans: Sequence[float]) -> Decision:
    """Choose among decisions for several spans (seconds) the one with the highest evidence; the first without any.

    The maximum over several spans is higher by chance, so evidence is reduced by half the logarithm of their number.
    """
    odds = [-math.inf if decision.evidence is None else decision.evidence for decision in decisions]
    index = odds.index(max(odds))
    best = decisions[index]
    if best.evidence is None:
        return best
    evidence = round(best.evidence - 0.5 * math.log(len(decisions)), 4)
    return msgspec.structs.replace(best, evidence=evidence, span=round(spans[index], 6))


def _lacking(manifest: Manifest, best: int, familiarity: float) -> float:
    """By how much familiarity is below the threshold of the most likely class's stage; 0 for a known clip."""
    if manifest.unknown is None:
        return 0.0
    threshold = manifest.unknown.thresholds[manifest.classes[best].stage - 1]
    return 0.0 if threshold is None else max(0.0, threshold - familiarity)


def softmax(logits: Array, temperature: float) -> Array:
    """Scores `(C,)` that sum to 1: softmax of logits / temperature, in float64."""
    scaled = (logits.astype(np.float64) - logits.max()) / temperature
    powers = np.exp(scaled)
    return np.asarray(powers / powers.sum())
