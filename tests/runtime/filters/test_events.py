from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stpr.runtime.contract.sampling import ClipSpec
from stpr.runtime.decision import Decision, Prediction
from stpr.runtime.events import End, EventSettings, Start, share
from stpr.runtime.filters.events import Events
from stpr.runtime.result import Result
from stpr.runtime.sources import Frame, Origin
from tests.factories import make_manifest
from tests.runtime.sinks.results import CAMERA, FILE, IMAGE, make_prediction

MANIFEST = make_manifest(clip=ClipSpec(frames=8, span_seconds=2.0))
LABEL, STAGE = MANIFEST.classes[-1].name, MANIFEST.classes[-1].stage
OTHER = MANIFEST.classes[0].name


def decided(evidence: float | None, label: str = LABEL, state: Any = "known") -> Decision:
    top = ((label, 0.75), (next(name for name in MANIFEST.class_names if name != label), 0.25))
    return Decision(
        label=label if state == "known" else None, top=top, routing={"1": 1.0}, state=state, evidence=evidence
    )


def result(step: int, decision: Decision | None, source: Origin = FILE, **changes: Any) -> Result:
    """What is known at one of four predictions a second."""
    prediction = None
    if decision is not None:
        prediction = msgspec.structs.replace(make_prediction(step), **msgspec.structs.asdict(decision))
    return Result(Frame(IMAGE, step, step / 4, source), prediction, 4.0, **changes)


def told(results: list[Result], **settings: float) -> list[Start | End]:
    events = Events(MANIFEST, EventSettings(**settings))
    return [event for one in results for event in events(one).events]


def wave(source: Origin = FILE) -> list[Result]:
    """Evidence that rises to 3 nats at one second and falls again."""
    return [result(step, decided(3.0 - 2.0 * abs(step - 4)), source=source) for step in range(12)]


def test_an_action_starts_and_ends_with_its_stage_and_its_rival() -> None:
    start, end = told(wave())
    assert isinstance(start, Start)
    assert (start.label, start.stage, start.frame, start.media_time) == (LABEL, STAGE, 3, 0.75)
    assert (start.nearest, start.margin, start.routing) == (OTHER, 0.5, {"1": 1.0})
    assert isinstance(end, End)
    assert (end.label, end.start_frame, end.peak) == (LABEL, 3, share(3.0))


def test_a_live_source_has_no_media_time() -> None:
    assert [event.media_time for event in told(wave(CAMERA))] == [None, None]


@pytest.mark.parametrize(("evidence", "state"), [(None, "known"), (-2.5, "unknown"), (-1e4, "unknown")])
def test_what_says_nothing_of_events_and_what_paid_too_much_for_being_strange_make_none(
    evidence: float | None, state: str
) -> None:
    assert told([result(step, decided(evidence, state=state)) for step in range(12)]) == []


def test_moments_that_are_a_little_strange_by_themselves_are_an_action_all_the_same() -> None:
    strange = [
        msgspec.structs.replace(decided(3.0 - 2.0 * abs(step - 4)), state="unknown", label=None) for step in range(12)
    ]
    start, end = told([result(step, decision) for step, decision in enumerate(strange)])
    assert (start.label, start.frame, end.label) == (LABEL, 3, LABEL)


@pytest.mark.parametrize("last", [result(5, Decision()), result(5, None, ended=True)])
def test_a_gap_and_the_end_close_what_is_open(last: Result) -> None:
    start, end = told([*wave()[:5], last])
    assert (start.frame, end.frame) == (3, 4)
    assert isinstance(end, End)


def test_what_begins_anew_closes_what_is_open_also_where_it_needs_no_warming_up() -> None:
    """A slow camera fills a window with its first frames after a reconnect; what is open ends all the same."""
    anew = [result(5, None, began=True), result(6, decided(9.0))]
    start, end = told([*wave()[:5], *anew])
    assert (start.frame, end.frame) == (3, 4)
    again = told([*wave()[:5], *anew, result(20, None, ended=True)])
    assert [(type(event), event.id, event.frame) for event in again] == [
        (Start, 1, 3),
        (End, 1, 4),
        (Start, 2, 6),
        (End, 2, 6),
    ]


def test_between_two_slots_nothing_is_said() -> None:
    quiet = result(5, None)
    assert quiet.prediction is None
    assert told([*wave()[:5], quiet]) == []


def test_predictions_are_left_as_they_were() -> None:
    one = wave()[4]
    assert isinstance(one.prediction, Prediction)
    assert Events(MANIFEST, EventSettings())(one).prediction is one.prediction
