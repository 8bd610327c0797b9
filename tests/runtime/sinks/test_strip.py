from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import ClassVar

import msgspec
import numpy as np
import pytest

from stpr.runtime.canvas import Canvas, Colour, Place, stage_colour
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.events import End, Event, Start
from stpr.runtime.result import Result
from stpr.runtime.sinks.strip import BAR, BAR_TOP, HEIGHT, MOST, SECONDS, Strip
from stpr.runtime.sources import Frame, Origin
from tests.runtime.sinks.results import CAMERA, FILE, IMAGE, make_prediction

WIDTH = 600  # 20 pixels a second
BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)


def clock(seconds: float) -> str:
    return (BEGIN + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def result(at: float, events: Sequence[Event] = (), *, source: Origin = FILE) -> Result:
    """What is known at a moment; a camera's own clock is far from the one on the wall."""
    prediction = msgspec.structs.replace(make_prediction(), time=clock(at), evidence=1.0)
    frame = Frame(IMAGE, round(25 * at), at if source is FILE else at + 5000, source)
    return Result(frame, prediction, 25.0, events=tuple(events), latest=prediction)


def start(at: float, *, stage: int = 1, media: bool = True, label: str = "wave") -> Start:
    return Start(
        id=1, label=label, stage=stage, score=0.9, frame=0, time=clock(at), media_time=at if media else None,
        peak_frame=0, peak_time=clock(at),
    )  # fmt: skip


def end(begun: float, at: float, *, stage: int = 1, media: bool = True) -> End:
    return End(
        id=1,
        label="wave",
        stage=stage,
        score=0.5,
        frame=0,
        time=clock(at),
        start_frame=0,
        start_time=clock(begun),
        peak=0.9,
        peak_frame=0,
        peak_time=clock(at),
        media_time=at if media else None,
        start_media_time=begun if media else None,
    )


def drawn(strip: Strip) -> Image:
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    strip.draw(Canvas(picture), WIDTH)
    return picture


def bar(strip: Strip, stage: int = 1) -> tuple[float, float] | None:
    """From when to when a stage's colour lies in the strip, in seconds before now."""
    row = drawn(strip)[BAR_TOP + BAR // 2]
    columns = np.flatnonzero((row == np.array(stage_colour(stage))).all(axis=1))
    if not len(columns):
        return None
    return SECONDS - columns.min() * SECONDS / WIDTH, SECONDS - (columns.max() + 1) * SECONDS / WIDTH


@pytest.mark.parametrize("source", [FILE, CAMERA], ids=["file", "camera"])
def test_a_bar_grows_with_the_edge_until_its_end_and_then_moves_away(source: Origin) -> None:
    strip, media = Strip(), source is FILE
    strip.see(result(10, [start(9, media=media)], source=source))
    assert bar(strip) == pytest.approx((1, 0), abs=0.1)
    strip.see(result(12, source=source))
    assert bar(strip) == pytest.approx((3, 0), abs=0.1)
    strip.see(result(13, [end(9, 12.5, media=media)], source=source))
    assert bar(strip) == pytest.approx((4, 0.5), abs=0.1)
    strip.see(result(20, source=source))
    assert bar(strip) == pytest.approx((11, 7.5), abs=0.1)
    strip.see(result(41, source=source))
    assert bar(strip) == pytest.approx((30, 28.5), abs=0.1)
    strip.see(result(43, source=source))
    assert bar(strip) is None


def test_where_nothing_happens_it_is_empty() -> None:
    strip = Strip()
    assert not strip.tells_events
    strip.see(result(50))
    assert strip.tells_events
    assert all(bar(strip, stage) is None for stage in range(1, 11))


def test_events_that_went_missing_leave_no_bar_that_grows_for_ever() -> None:
    strip = Strip()
    strip.see(result(10, [start(9)]))
    strip.see(result(20, [start(19, stage=2)]))  # the end of the first never came
    assert bar(strip) == pytest.approx((11, 1), abs=0.1)
    strip = Strip()
    strip.see(result(20, [end(15, 18, stage=3)]))  # its start never came
    assert bar(strip, 3) == pytest.approx((5, 2), abs=0.1)


def test_another_clock_begins_anew() -> None:
    strip = Strip()
    strip.see(result(100, [start(99)]))
    strip.see(result(1))
    assert bar(strip) is None


def test_what_is_remembered_is_bounded() -> None:
    strip = Strip()
    for index in range(2 * MOST):
        at = index / 100
        strip.see(result(at, [start(at), end(at, at)]))
    assert len(strip._bars) <= MOST
    for index in range(100):
        strip.see(result(1000 + index))
    assert not strip._bars


class Noting(Canvas):
    """Notes where the names stand: row, from, to."""

    placed: ClassVar[list[tuple[float, float, float]]]

    def text(self, words: str, at: Place, *, size: float, colour: Colour, room: float = 1e9) -> None:  # noqa: ARG002
        if at[1] < BAR_TOP:
            self.placed.append((at[1], at[0], at[0] + self.measure(words, size)))


@pytest.mark.parametrize(("apart", "named"), [(0.4, 0), (1.0, 8), (2.0, 12), (7.0, 4)])
def test_names_never_overlap_however_long_they_are(apart: float, named: int) -> None:
    strip, names = Strip(), ["a very long name of an action indeed " * 2, "bob", "turn_counterclockwise", "go"]
    for index in range(160):
        at = apart * index
        strip.see(result(at, [start(at, label=names[index % 4])]))
        strip.see(result(at + 0.2, [end(at, at + 0.2)]))
        Noting.placed = []
        strip.draw(Noting(np.zeros((HEIGHT, WIDTH, 3), np.uint8)), WIDTH)
        for row in {name[0] for name in Noting.placed}:
            own = sorted(name[1:] for name in Noting.placed if name[0] == row)
            assert all(to < following for (_, to), (following, _) in pairwise(own)), own
            assert own[0][0] >= 0
            assert own[-1][1] <= WIDTH
    assert len(Noting.placed) >= named
