from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from stpr.runtime.bench.timeline import (
    BAR,
    HEAD,
    LEFT,
    MISSED,
    MOST_ROWS,
    NOT_LEARNT,
    PLOT,
    RIGHT,
    WIDTH,
    WRONG,
    _Bar,
    _Row,
    draw_timeline,
)
from stpr.runtime.canvas import Canvas, Colour
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.untrimmed import Action, DetectedEvent, Stream

STREAM = Stream(
    50.0,
    [Action(5, 7, "wave"), Action(15, 17, "jump"), Action(20, 22, "juggle"), Action(29, 32, "turn")],
    [DetectedEvent(6.5, 7.5, "wave", 7.0), DetectedEvent(24, 25, "jump", 24.5), DetectedEvent(32.5, 33, "turn", 32.8)],
)


def draw(stream: Stream = STREAM) -> Image:
    return draw_timeline(stream, title="kitchen.mp4", tolerance=2.2, not_learnt={"juggle": 1})


def spans(picture: Image, colour: Colour) -> list[tuple[float, float]]:
    """From when to when bars of a colour lie in the first row, in seconds."""
    row = (picture[HEAD : HEAD + 110] == np.array(colour)).all(axis=2)
    tall = np.flatnonzero(row.sum(axis=0) >= BAR)
    edges = np.flatnonzero(np.diff(tall, prepend=-9) > 2)
    ends = [*edges[1:], len(tall)]
    return [
        (30 * (tall[begin] - LEFT) / PLOT, 30 * (tall[end - 1] + 1 - LEFT) / PLOT)
        for begin, end in zip(edges, ends, strict=True)
    ]


def test_told_missed_and_not_learnt_actions_and_false_events_look_different() -> None:
    picture = draw()
    assert spans(picture, MISSED) == [pytest.approx((15, 17), abs=0.1)]
    assert spans(picture, NOT_LEARNT) == [pytest.approx((20, 22), abs=0.1)]
    assert spans(picture, WRONG) == [pytest.approx((24, 24.5), abs=0.1)]
    told = spans(picture, RIGHT)
    assert told[0] == pytest.approx((5, 7), abs=0.1)
    assert told[-1] == pytest.approx((29, 30), abs=0.1)  # it goes on in the next row


def test_an_event_is_drawn_where_its_action_was_seen() -> None:
    event = DetectedEvent(24, 25, "jump", 24.5, whole=(21.5, 23.5))
    picture = draw(STREAM._replace(events=[event]))
    assert spans(picture, WRONG) == [pytest.approx((21.5, 23.5), abs=0.1)]


def test_an_action_across_two_rows_is_in_both_and_named_once() -> None:
    first, second = _Row(0.0, [bar(29, 32)], []), _Row(30.0, [bar(29, 32)], [])
    assert len(first.names(first.happened)) == 1
    assert second.names(second.happened) == []
    picture = draw()
    second_row = (picture[-150:] == np.array(RIGHT)).all(axis=2).sum(axis=0)
    assert (second_row[LEFT + 2 : LEFT + 90] >= BAR).all()


def bar(start: float, end: float, name: str = "wave") -> _Bar:
    return _Bar(start, end, name, RIGHT)


def test_names_never_overlap_and_never_leave_the_picture() -> None:
    names = ["pushing something from left to right until it falls off the table", "wave", "turn counterclockwise"]
    row = _Row(0.0, [bar(0.7 * index, 0.7 * index + 0.5, names[index % 3]) for index in range(42)], [])
    pen = Canvas(np.zeros((9, 9, 3), np.uint8))
    placed = [(shelf, x, x + min(360, pen.measure(one.name, 11.5))) for one, x, shelf in row.names(row.happened)]
    assert len(placed) == 42
    for shelf in {name[0] for name in placed}:
        own = sorted(name[1:] for name in placed if name[0] == shelf)
        assert all(end < following for (_, end), (following, _) in pairwise(own))
    assert min(name[1] for name in placed) >= LEFT
    assert max(name[2] for name in placed) <= WIDTH


@pytest.mark.parametrize(("seconds", "rows"), [(5, 1), (30, 1), (31, 2), (90, 3), (9 * 3600, MOST_ROWS)])
def test_half_a_minute_is_a_row_and_a_day_its_first_hour(seconds: float, rows: int) -> None:
    one, found = draw(Stream(5.0, [], [])).shape, draw(Stream(seconds, [], [])).shape
    assert found[0] - HEAD - 16 == rows * (one[0] - HEAD - 16)


def test_what_is_cut_off_is_said() -> None:
    hours, hour = (draw(Stream(seconds, [], []))[:HEAD] for seconds in (3 * 3600, 3600))
    assert not np.array_equal(hours, hour)


def test_an_event_whose_end_nobody_knows_lasts_until_it_was_said() -> None:
    picture = draw(Stream(20.0, [], [DetectedEvent(4, 6, "wave")]))
    assert spans(picture, WRONG) == [pytest.approx((4, 6), abs=0.1)]
