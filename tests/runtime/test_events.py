from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stpr.runtime.contract.errors import ContractError
from stpr.runtime.events import SLIDE, End, Event, EventDecoder, EventSettings, Moment, Start, share

SPAN = 2.0
QUICK = EventSettings(threshold=0.0, fade=-1.0, wait=0.5, linger=0.25, apart=0.875)


def moment(step: int, label: str | None = "wave", evidence: float = 2.0, **changes: Any) -> Moment:
    """One of four moments a second."""
    fields: dict[str, Any] = {"label": label, "evidence": evidence, "stage": {"wave": 1, "jump": 2}.get(label or "", 0)}
    fields |= {"at": step / 4, "frame": 4 * step, "time": f"t{step}", "media_time": step / 4, "span": 1.75}
    return Moment(**(fields | changes))


def decode(moments: list[Moment], settings: EventSettings = QUICK) -> list[Event]:
    decoder = EventDecoder(SPAN, settings)
    return [event for one in moments for event in decoder.see(one)] + decoder.flush()


def rise(label: str, at: int, height: float = 3.0) -> list[Moment]:
    """Seven moments whose evidence rises to `height` at step `at` and falls again."""
    return [moment(at + step, label, height - 1.5 * abs(step)) for step in range(-3, 4)]


def told(events: list[Event]) -> list[tuple[str, int, str, int]]:
    return [(type(event).__name__, event.id, event.label, event.frame // 4) for event in events]


def test_an_action_is_one_start_and_one_end() -> None:
    start, end = decode(rise("wave", 10))
    peak: dict[str, Any] = {"peak_frame": 40, "peak_time": "t10", "peak_media_time": 2.5, "span": 1.75}
    assert start == Start(id=1, label="wave", stage=1, score=share(3.0), frame=32, time="t8", media_time=2.0, **peak)
    assert end == End(
        id=1, label="wave", stage=1, score=share(0.0), frame=48, time="t12", media_time=3.0,
        start_frame=32, start_time="t8", start_media_time=2.0, peak=share(3.0), **peak,
    )  # fmt: skip


def test_the_window_that_showed_most_says_where_the_action_was() -> None:
    evidence = {10: 1.0, 12: 3.0, 14: 2.0, 15: 4.0}
    moments = [moment(step, evidence=odds, span=step / 6) for step, odds in evidence.items()]
    start, end = decode(moments, EventSettings(threshold=0.0, fade=-1.0, wait=0.5, linger=1.0))
    assert (start.peak_frame, start.span) == (48, 2.0)  # what was known when the start was reported
    assert (end.peak_frame, end.peak_time, end.peak_media_time, end.span) == (60, "t15", 3.75, 2.5)


def held(steps: int, *, start: int = 100) -> list[Moment]:
    """A shape that is held for a window and `steps` moments more, in noise and with a fade on both sides."""
    noise = np.random.default_rng(0).uniform(-0.4, 0.0, steps + 1)
    fade = (-3.0, -1.0, 1.0)
    odds = [*fade, *(2.0 + noise), *reversed(fade)]
    return [moment(start + step - len(fade), evidence=one) for step, one in enumerate(odds)]


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 8, 40, 4000])
def test_what_is_held_longer_than_a_window_lasts_as_long_as_its_windows_slide_over_it(steps: int) -> None:
    *_, end = decode(held(steps))
    assert isinstance(end, End)
    assert end.span is not None
    assert end.peak_media_time is not None
    # Windows of 1.75 s show it from step 100 on, and have slid off it by up to a slide on either side.
    slack = min(steps / 8, SLIDE * SPAN)
    first, last = 25 - 1.75 + slack, 25 + steps / 4 - slack
    assert end.peak_media_time - end.span == pytest.approx(first, abs=0.26)
    assert end.peak_media_time == pytest.approx(last, abs=0.26)
    assert end.peak_frame == 16 * end.peak_media_time
    assert end.peak <= share(2.0)


def test_a_start_is_said_once_nothing_louder_came_for_a_while() -> None:
    decoder = EventDecoder(SPAN, QUICK)
    said = {one.frame // 4: decoder.see(one) for one in rise("wave", 10)}
    assert told(said[12]) == [("Start", 1, "wave", 8)]  # half a second after the peak
    assert all(not events for step, events in said.items() if step != 12)


def test_an_end_is_said_once_the_label_has_been_gone_for_a_while() -> None:
    decoder = EventDecoder(SPAN, QUICK)
    for one in rise("wave", 10):  # at step 13 the evidence is below `fade`
        decoder.see(one)
    assert told(decoder.see(moment(14, None))) == [("End", 1, "wave", 12)]
    assert decoder.flush() == []


def test_the_louder_of_two_close_moments_wins() -> None:
    weak, strong = rise("jump", 8, 1.0), rise("wave", 11, 3.0)
    moments = sorted(weak[:3] + strong, key=lambda one: one.at)
    assert told(decode(moments)) == [("Start", 1, "wave", 9), ("End", 1, "wave", 13)]


def test_a_weaker_moment_within_a_span_of_a_peak_is_no_action() -> None:
    late = [moment(step, "jump", 1.5) for step in range(14, 17)]
    assert [event.label for event in decode(rise("wave", 10) + late)] == ["wave", "wave"]
    apart = [moment(step, "jump", 1.5) for step in range(17, 20)]
    assert [event.label for event in decode(rise("wave", 10) + apart)] == ["wave", "wave", "jump", "jump"]


def test_actions_back_to_back_are_one_event_each() -> None:
    events = decode([*rise("wave", 8), *rise("wave", 16), *rise("jump", 24)])
    assert [(event.id, event.label) for event in events if isinstance(event, Start)] == [
        (1, "wave"), (2, "wave"), (3, "jump"),
    ]  # fmt: skip


def test_an_action_that_goes_on_is_one_event() -> None:
    events = decode([moment(step, "wave", 2.0 + 0.1 * (step % 3)) for step in range(80)])
    assert told(events) == [("Start", 1, "wave", 0), ("End", 1, "wave", 79)]


def test_what_rises_on_and_on_is_said_after_a_span() -> None:
    decoder = EventDecoder(SPAN, QUICK)
    said = {step: decoder.see(moment(step, "wave", 0.1 * step)) for step in range(20)}
    assert [step for step, events in said.items() if events] == [8]


def test_a_label_that_is_gone_for_a_moment_is_not_gone() -> None:
    moments = [moment(step, "wave" if step % 2 else None) for step in range(40)]
    assert len(decode(moments, EventSettings(linger=0.5))) == 2
    assert len(decode(moments, EventSettings(linger=0.0, wait=0.25))) > 4


def test_after_a_hole_everything_begins_anew() -> None:
    decoder = EventDecoder(SPAN, QUICK)
    first = [event for one in rise("wave", 10)[:5] for event in decoder.see(one)] + decoder.flush()
    again = [event for one in rise("wave", 14) for event in decoder.see(one)] + decoder.flush()
    assert [event.id for event in first + again] == [1, 1, 2, 2]


def test_lines_are_what_was_promised() -> None:
    lines = [msgspec.json.decode(msgspec.json.encode(event)) for event in decode(rise("wave", 10))]
    common = {"event", "id", "label", "stage", "score", "frame", "time", "media_time"}
    common |= {"span", "peak_frame", "peak_time", "peak_media_time"}
    assert [line["event"] for line in lines] == ["start", "end"]
    assert set(lines[0]) == common
    assert set(lines[1]) == common | {"start_frame", "start_time", "start_media_time", "peak"}


def test_why_is_said_where_it_is_known() -> None:
    why: dict[str, Any] = {"nearest": "jump", "margin": 0.25, "routing": {"1": 0.9, "2": 0.1}}
    start = decode([moment(0, **why)])[0]
    assert why.items() <= msgspec.json.decode(msgspec.json.encode(start)).items()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": -3.0}, r"events fade at -2 and start at -3; fade must not be higher"),
        ({"wait": -0.5}, r"wait, linger and apart must be 0 or more, got -0\.5, 0\.5 and 0\.875"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        EventSettings(**changes)


chosen = st.builds(
    lambda threshold, down, wait, linger, apart: EventSettings(
        threshold=threshold, fade=threshold - down, wait=wait, linger=linger, apart=apart
    ),
    st.floats(-2, 2), st.floats(0, 3), st.floats(0, 1.5), st.floats(0, 1), st.floats(0, 1.5),
)  # fmt: skip
seen = st.lists(
    st.tuples(st.sampled_from(["wave", "jump", "turn", None]), st.floats(-6, 6)), max_size=80
).map(lambda found: [moment(step, label, evidence) for step, (label, evidence) in enumerate(found)])  # fmt: skip


@given(moments=seen, how=chosen)
@settings(max_examples=300, deadline=None)
def test_what_holds_for_any_stream(moments: list[Moment], how: EventSettings) -> None:
    events = decode(moments, how)
    starts = [event for event in events if isinstance(event, Start)]
    ends = [event for event in events if isinstance(event, End)]
    assert [event.id for event in events] == [number for start in starts for number in (start.id, start.id)]
    assert [start.id for start in starts] == list(range(1, len(starts) + 1))
    for start, end in zip(starts, ends, strict=True):
        assert (end.label, end.start_frame, end.start_time) == (start.label, start.frame, start.time)
        assert end.frame >= start.frame
        assert end.peak >= max(start.score, end.score)
        assert start.score >= share(how.threshold)
    # The second of two starts at least `apart` spans after the first.
    for one, two in pairwise(starts):
        assert two.frame > one.frame
        assert (two.frame - one.frame) / 16 >= how.apart * SPAN - 1e-9


@given(moments=seen, how=chosen, data=st.data())
@settings(max_examples=100, deadline=None)
def test_events_depend_on_what_was_seen_so_far_alone(
    moments: list[Moment], how: EventSettings, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(moments)))
    whole, part = EventDecoder(SPAN, how), EventDecoder(SPAN, how)
    both = [[event for one in moments[:cut] for event in decoder.see(one)] for decoder in (whole, part)]
    assert both[0] == both[1]
    both = [[event for one in moments[cut:] for event in decoder.see(one)] for decoder in (whole, part)]
    assert both[0] == both[1]


@pytest.mark.parametrize("idle", [moment(0, None), moment(0, "wave", -0.51), moment(0, "wave", -math.inf)])
def test_where_nothing_goes_on_nothing_is_said(idle: Moment) -> None:
    decoder = EventDecoder(SPAN, EventSettings())
    for step in range(1000):
        assert decoder.see(moment(step, idle.label, idle.evidence)) == []
    assert decoder.flush() == []


def test_an_endless_stream_is_followed_in_bounded_memory() -> None:
    decoder = EventDecoder(SPAN, QUICK)
    sizes = []
    for step in range(4000):
        decoder.see(moment(step, ("wave", "jump")[step // 9 % 2], 3 - step % 9))
        if step >= 1000 and step % 1000 == 0:
            sizes.append(len(msgspec.json.encode([msgspec.to_builtins(run) for run in vars(decoder).values()])))
    assert max(sizes) < 1.1 * min(sizes)
