from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stpr.runtime.contract.errors import EngineError
from stpr.runtime.contract.manifest import ClassEntry, UnknownSpec
from stpr.runtime.decision import FAINTEST, WARMING_UP, Decision, decide, softmax, strongest
from tests.factories import CLASSES, make_manifest

numbers = st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3).map(lambda values: np.array(values, np.float32))
ROUTING = np.array([0.25, 0.75], np.float32)
FAMILIAR = np.array(0.0, np.float32)


@given(logits=numbers, temperature=st.floats(1e-3, 10))
def test_scores_are_a_distribution_in_the_order_of_the_logits(logits: np.ndarray, temperature: float) -> None:
    scores = softmax(logits, temperature)
    assert scores.sum() == pytest.approx(1)
    assert (scores >= 0).all()
    assert (np.diff(scores[np.argsort(logits, kind="stable")]) >= 0).all()


@given(logits=numbers)
def test_a_decision_names_the_largest_logit_and_its_runners_up(logits: np.ndarray) -> None:
    decision = decide(make_manifest(), logits, ROUTING, FAMILIAR)
    names = [name for name, _ in CLASSES]
    assert decision.state == "known"
    assert decision.label == names[int(logits.argmax())]
    assert (decision.label, decision.score) == decision.top[0]
    assert sorted(name for name, _ in decision.top) == sorted(names)
    assert [score for _, score in decision.top] == sorted((score for _, score in decision.top), reverse=True)
    assert decision.routing == {"1": 0.25, "2": 0.75}


def test_temperature_is_the_manifests() -> None:
    logits = np.array([1.0, 0.0, 0.0], np.float32)
    sharp, flat = (decide(make_manifest(temperature=value), logits, ROUTING, FAMILIAR).score for value in (0.1, 10.0))
    assert sharp == pytest.approx(1 / (1 + 2 * np.exp(-10)), abs=1e-6)
    assert flat == pytest.approx(1 / (1 + 2 * np.exp(-0.1)), abs=1e-6)


def test_warming_up_says_nothing() -> None:
    plain = msgspec.to_builtins(WARMING_UP)
    assert plain == {
        "label": None, "score": 0.0, "top": (), "routing": {}, "state": "warming_up", "evidence": None, "span": None,
    }  # fmt: skip


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_never_named(bad: float) -> None:
    with pytest.raises(EngineError, match=r"NaN or infinite.*stpr-check"):
        decide(make_manifest(), np.array([0.1, bad, 0.2], np.float32), ROUTING, FAMILIAR)
    with pytest.raises(EngineError, match="NaN or infinite"):
        decide(make_manifest(), np.zeros(3, np.float32), np.array([bad, 0], np.float32), FAMILIAR)
    with pytest.raises(EngineError, match="NaN or infinite"):
        decide(make_manifest(), np.zeros(3, np.float32), ROUTING, np.array(bad, np.float32))


@pytest.mark.parametrize(
    ("best", "familiarity", "unknown"),
    [
        (0, -2.5, True),
        (0, -2.0, False),  # the threshold itself is kept
        (1, -2.5, True),  # of the same stage
        (2, -2.5, False),  # each stage has its own threshold
        (2, -5.5, True),
    ],
)
def test_less_familiar_than_its_stages_threshold_is_unknown(best: int, familiarity: float, *, unknown: bool) -> None:
    spec = UnknownSpec(score="likelihood_ratio", recall=0.95, thresholds=(-2.0, -5.0))
    logits = np.eye(3, dtype=np.float32)[best]
    decision = decide(make_manifest(unknown=spec), logits, ROUTING, np.array(familiarity, np.float32))
    plain = decide(make_manifest(), logits, ROUTING, np.array(familiarity, np.float32))
    assert plain.state == "known"
    assert (decision.top, decision.routing) == (plain.top, plain.routing)
    told = (decision.state, decision.label, decision.score)
    assert told == (("unknown", None, 0.0) if unknown else ("known", plain.label, plain.score))


def test_a_stage_without_a_threshold_is_never_unknown() -> None:
    spec = UnknownSpec(score="cosine", recall=0.95, thresholds=(None, 0.9))
    for best, state in ((0, "known"), (2, "unknown")):
        logits = np.eye(3, dtype=np.float32)[best]
        found = decide(make_manifest(unknown=spec), logits, ROUTING, np.array(-1e9, np.float32))
        assert found.state == state


@pytest.mark.parametrize(("familiarity", "lacking"), [(-1.0, 0.0), (-2.0, 0.0), (-2.5, 0.5), (-7.0, 5.0)])
def test_evidence_pays_for_what_familiarity_lacks(familiarity: float, lacking: float) -> None:
    spec = UnknownSpec(score="likelihood_ratio", recall=0.95, thresholds=(-2.0, -5.0))
    seen = (np.eye(3, dtype=np.float32)[0], ROUTING, np.array(familiarity, np.float32), np.full(3, 1.5, np.float32))
    assert decide(make_manifest(), *seen).evidence == 1.5
    assert decide(make_manifest(unknown=spec), *seen).evidence == pytest.approx(1.5 - lacking, abs=1e-4)


@pytest.mark.parametrize(("evidence", "state"), [(FAINTEST, "known"), (FAINTEST - 0.01, "unknown")])
def test_a_class_that_moves_needs_evidence_for_its_label(evidence: float, state: str) -> None:
    moving = make_manifest(classes=tuple(ClassEntry(name=name, stage=stage, moves=True) for name, stage in CLASSES))
    seen = (np.eye(3, dtype=np.float32)[0], ROUTING, FAMILIAR, np.array([evidence, 9.0, 9.0], np.float32))
    decision = decide(moving, *seen)
    assert (decision.state, decision.label is None) == (state, state == "unknown")
    assert decision.top[0][0] == CLASSES[0][0]
    assert decision.evidence == pytest.approx(evidence)
    assert decide(make_manifest(), *seen).state == "known"  # one recognised by appearance needs only its energy


def test_the_loudest_span_speaks_and_pays_for_its_chances() -> None:
    spans = [Decision(label=label, evidence=evidence) for label, evidence in [("a", 1.0), ("b", 3.0), ("c", -2.0)]]
    found = strongest(spans, (2.0, 1.75, 2.25))
    assert found == Decision(label="b", evidence=round(3.0 - 0.5 * math.log(3), 4), span=1.75)
    assert strongest(spans[:1], (2.0,)) == Decision(label="a", evidence=1.0, span=2.0)


def test_without_evidence_the_clips_own_span_speaks() -> None:
    assert strongest([Decision(label="a"), Decision(label="b")], (2.0, 1.75)) == Decision(label="a")
