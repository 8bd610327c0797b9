"""From the head's outputs (logits, routing weights, familiarity) to a decision: a label, or unknown."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec
import numpy as np

from stpr.runtime.contract.errors import EngineError
from stpr.runtime.contract.manifest import Manifest
from stpr.runtime.contract.preprocess import Array

TOP = 3
State: TypeAlias = Literal["known", "unknown", "warming_up"]


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


class Prediction(Decision, frozen=True, kw_only=True):
    """A decision, when and on which frame of which source it fell, and by which bundle."""

    time: str  # ISO 8601 with the zone
    frame: int
    latency_ms: float  # capture to prediction for live sources, processing time for files
    bundle: BundleId
    source: str

    def line(self) -> dict[str, object]:
        """What a line of `--json` holds, flat, in the order that scripts have seen from the start."""
        return {"time": self.time, "frame": self.frame} | msgspec.structs.asdict(self)


WARMING_UP = Decision()


def decide(manifest: Manifest, logits: Array, routing: Array, familiarity: Array) -> Decision:
    """The decision for one clip's logits `(C,)`, routing `(E,)` and familiarity `()`.

    Raises EngineError if any of them is not finite (NaN or infinite).
    """
    if not all(np.isfinite(numbers).all() for numbers in (logits, routing, familiarity)):
        raise EngineError(
            "the head gave numbers that are not finite; check the bundle on this machine with `stpr-check`,"
            " or choose another --engine."
        )
    scores = softmax(logits, manifest.temperature)
    best = np.argsort(-logits, kind="stable")[:TOP]  # by logits: scores of near-equal ones round to a tie
    top = tuple((manifest.class_names[index], round(float(scores[index]), 6)) for index in best)
    weights = {str(stage): round(float(weight), 6) for stage, weight in enumerate(routing, start=1)}
    if _is_unknown(manifest, int(best[0]), float(familiarity)):
        return Decision(top=top, routing=weights, state="unknown")
    return Decision(label=top[0][0], score=top[0][1], top=top, routing=weights, state="known")


def _is_unknown(manifest: Manifest, best: int, familiarity: float) -> bool:
    """Whether a clip is less familiar than clips of its likeliest class's stage are."""
    if manifest.unknown is None:
        return False
    threshold = manifest.unknown.thresholds[manifest.classes[best].stage - 1]
    return threshold is not None and familiarity < threshold


def softmax(logits: Array, temperature: float) -> Array:
    """Scores `(C,)` that sum to 1, in float64: the softmax of logits / temperature."""
    scaled = (logits.astype(np.float64) - logits.max()) / temperature
    powers = np.exp(scaled)
    return np.asarray(powers / powers.sum())
