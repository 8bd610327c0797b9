from __future__ import annotations

from itertools import permutations
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stpr.runtime.contract.errors import DataError
from stpr.runtime.untrimmed import (
    EARLY,
    Action,
    ClassFigures,
    Delay,
    DetectedEvent,
    EventFigures,
    Stream,
    figures,
    match,
    read_annotations,
)

LABELS = ("wave", "jump")


def written(folder: Path, text: str) -> Path:
    file = folder / "events.csv"
    file.write_text(text, encoding="utf-8")
    return file


def heard(start: float, label: str = "wave", *, late: float = 0.0) -> DetectedEvent:
    return DetectedEvent(start, start + late, label)


def test_actions_come_by_video_in_the_order_of_their_starts(tmp_path: Path) -> None:
    file = written(tmp_path, "file,start,end,label,note\nb.mp4,3,4.5,jump,x\na.mp4,1,2,wave,\nb.mp4,0.5,2, wave ,y\n")
    assert read_annotations(file, labels=LABELS) == {
        "b.mp4": (Action(0.5, 2.0, "wave"), Action(3.0, 4.5, "jump")),
        "a.mp4": (Action(1.0, 2.0, "wave"),),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file,start,stop,label\na,1,2,wave\n",
            r"has no column 'end'; its first line must name file, start, end, label",
        ),
        ("", r"has no column 'file'"),
        ("file,start,end,label\n", r"annotates no action; give it a line for each"),
        ("file,start,end,label\na,1,2\n", r"line 2: label is empty; fill it in or remove the line"),
        ("file,start,end,label\na,1,2,wave\n,1,2,wave\n", r"line 3: file is empty"),
        ("file,start,end,label\na,0:01,2,wave\n", r"line 2: start is '0:01'; write seconds from the video's start"),
        ("file,start,end,label\na,-1,2,wave\n", r"line 2: start is '-1'; write seconds"),
        ("file,start,end,label\na,1,inf,wave\n", r"line 2: end is 'inf'; write seconds"),
        ("file,start,end,label\na,2,2,wave\n", r"line 2: the action ends at 2 s, not after its start at 2 s"),
        (
            "file,start,end,label\na,1,2,wave\na,1.0,2,wave\n",
            r"line 3: the same action is listed already; remove one",
        ),
        ("file,start,end,label\na,1,2,dance\n", r"line 2: no class is called 'dance'; there are wave, jump"),
    ],
)
def test_what_can_not_be_meant_is_said_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_annotations(written(tmp_path, text), labels=LABELS)
    assert "\n" not in caught.value.message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv can't be read as a CSV of annotations"):
        read_annotations(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("events", "right"),
    [
        ([heard(10.0)], [True]),  # at the very start
        ([heard(9.96)], [True]),  # a frame before, which lasts until it
        ([heard(9.94)], [False]),
        ([heard(14.2)], [True]),  # 2.2 s after the end
        ([heard(14.21)], [False]),
        ([heard(11.0, "jump")], [False]),
        ([heard(11.0), heard(12.0)], [True, False]),  # one event for one action
        ([heard(12.0), heard(11.0)], [False, True]),
        ([], []),
    ],
)
def test_when_an_event_is_right(events: list[DetectedEvent], right: list[bool]) -> None:
    assert [action is not None for action in match([Action(10.0, 12.0, "wave")], events, tolerance=2.2)] == right


def test_figures_of_a_case_worked_by_hand() -> None:
    first = Stream(
        60.0,
        [Action(10, 12, "wave"), Action(20, 22, "jump"), Action(30, 32, "wave")],
        [heard(11, late=0.5), heard(21, "wave"), heard(33, late=1), heard(50, "jump")],
    )
    second = Stream(30.0, [Action(5, 7, "jump")], [heard(7, "jump", late=2)])
    found = figures([first, second], tolerance=2.2)
    assert (found.minutes, found.actions, found.events, found.right) == (1.5, 4, 5, 3)
    assert (found.precision, found.recall) == (0.6, 0.75)
    assert found.f1 == pytest.approx(2 * 0.6 * 0.75 / 1.35)
    assert found.false_a_minute == pytest.approx(2 / 1.5)
    assert found.delay == Delay(median=2.0, p95=2.0)  # of -0.5, 2 and 2
    assert found.classes == {
        "jump": ClassFigures(
            actions=2, events=2, right=1, precision=0.5, recall=0.5, f1=0.5, confused_with={"wave": 1}
        ),
        "wave": ClassFigures(actions=2, events=3, right=2, precision=2 / 3, recall=1.0, f1=0.8, confused_with={}),
    }


def test_overlap_is_that_of_right_events_with_the_window_that_showed_them_whole() -> None:
    actions = [Action(10, 12, "wave"), Action(20, 22, "wave"), Action(30, 32, "wave"), Action(40, 42, "wave")]
    seen = [(10.0, 12.0), (21.0, 23.0), (35.0, 37.0), None]  # wholly, one second of three, not at all, unknown
    events = [DetectedEvent(one.end, one.end, "wave", whole=at) for one, at in zip(actions, seen, strict=True)]
    events += [DetectedEvent(50, 50, "wave", whole=(40.0, 42.0))]  # false, so it doesn't count
    assert figures([Stream(60.0, actions, events)], tolerance=2.2).overlap == pytest.approx((1 + 1 / 3 + 0) / 3)
    assert figures([Stream(60.0, actions, [])], tolerance=2.2).overlap is None


def test_delays_have_a_median_and_a_95th_percentile() -> None:
    actions = [Action(10.0 * index, 10.0 * index + 2, "wave") for index in range(21)]
    events = [DetectedEvent(action.start + 1, action.end + index / 10, "wave") for index, action in enumerate(actions)]
    delay = figures([Stream(300.0, actions, events)], tolerance=2.2).delay
    assert delay is not None
    assert (delay.median, delay.p95) == pytest.approx((1.0, 1.9))


@pytest.mark.parametrize(
    ("events", "swaps"),
    [
        ([heard(21, "jump")], {"jump": 1}),
        ([heard(24.2, "jump")], {"jump": 1}),  # as late as a right one may be
        ([heard(24.3, "jump")], {}),
        ([heard(19.9, "jump")], {}),
        ([heard(21, "jump"), heard(21.5, "turn")], {"jump": 1}),  # an action was one thing at most
        ([heard(21), heard(21.5, "jump")], {}),  # it was told: what else was said is false and nothing more
        ([heard(21, "jump"), heard(31, "jump")], {"jump": 2}),
    ],
)
def test_what_an_action_was_confused_with(events: list[DetectedEvent], swaps: dict[str, int]) -> None:
    actions = [Action(20, 22, "wave"), Action(30, 32, "wave")]
    assert figures([Stream(60.0, actions, events)], tolerance=2.2).classes["wave"].confused_with == swaps


def test_an_action_that_was_not_learnt_is_no_miss_and_what_is_said_of_it_false() -> None:
    stream = Stream(60.0, [Action(10, 12, "wave"), Action(20, 22, "juggle")], [heard(11), heard(21, "jump")])
    found = figures([stream], tolerance=2.2, not_learnt={"juggle"})
    assert (found.actions, found.events, found.right, found.not_learnt) == (1, 2, 1, 1)
    assert (found.precision, found.recall, found.false_a_minute) == (0.5, 1.0, 1.0)
    assert found.classes["juggle"].confused_with == {"jump": 1}


def test_still_windows_count_by_window_and_not_by_video() -> None:
    streams = [Stream(60.0, [], [], still_windows=30, still_called=3), Stream(6.0, [], [], 10, 5)]
    assert (figures(streams, tolerance=2.2).still, figures(streams, tolerance=2.2).still_windows) == (0.2, 40)
    assert figures([Stream(60.0, [], [])], tolerance=2.2).still is None


def test_a_line_with_a_file_alone_is_a_video_in_which_nothing_happens(tmp_path: Path) -> None:
    file = written(tmp_path, "file,start,end,label\nidle.mp4,,,\na.mp4,1,2,wave\n")
    assert read_annotations(file) == {"idle.mp4": (), "a.mp4": (Action(1.0, 2.0, "wave"),)}


def test_silence_has_no_precision_and_peace_no_recall() -> None:
    silent = figures([Stream(60.0, [Action(1, 2, "wave")], [])], tolerance=2.2)
    assert (silent.precision, silent.recall, silent.f1, silent.delay) == (None, 0.0, 0.0, None)
    peaceful = figures([Stream(60.0, [], [])], tolerance=2.2)
    assert (peaceful.recall, peaceful.f1, peaceful.false_a_minute) == (None, None, 0.0)


def test_no_time_is_no_measurement() -> None:
    with pytest.raises(DataError, match="events need videos that last, got 0 s"):
        figures([], tolerance=2.2)


moments = st.floats(min_value=0, max_value=12, allow_nan=False)


@given(
    spans=st.lists(st.tuples(moments, st.floats(min_value=0.1, max_value=4), st.sampled_from(LABELS)), max_size=4),
    starts=st.lists(st.tuples(moments, st.sampled_from(LABELS)), max_size=4),
)
@settings(max_examples=200)
def test_no_other_matching_makes_more_events_right(
    spans: list[tuple[float, float, str]], starts: list[tuple[float, str]]
) -> None:
    actions = [Action(start, start + length, label) for start, length, label in spans]
    events = [heard(start, label) for start, label in starts]
    taken = [action for action in match(actions, events, tolerance=2.2) if action is not None]
    slots: list[Action | None] = [*actions, *([None] * len(events))]
    most = max(
        sum(
            action is not None
            and action.label == event.label
            and action.start - EARLY <= event.start <= action.end + 2.2
            for event, action in zip(events, order, strict=False)
        )
        for order in permutations(slots, len(events))
    )
    assert len(taken) == most


def test_figures_can_be_written_down_whatever_clock_they_come_from() -> None:
    second = np.float64(60.0)  # as recorded times come out of arrays
    found = figures(
        [Stream(second, [Action(1, 2, "wave")], [DetectedEvent(second / 40, second / 30, "wave")])], tolerance=2.2
    )
    assert msgspec.json.decode(msgspec.json.encode(found), type=EventFigures) == found
