"""The queue before a sink: with a sink that is slow, hangs, breaks or has seen enough."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from stpr.runtime.contract.errors import StprError
from stpr.runtime.events import Start
from stpr.runtime.result import Result
from stpr.runtime.sinks.background import CLOSE_SECONDS, ROOM, Background
from stpr.runtime.sinks.sink import Guarded, StopRun
from stpr.runtime.sources import Origin
from tests.runtime.sinks.results import CAMERA, FILE, make_result

COUNT = 5 * ROOM


class Slow:
    """A sink that takes what its valve lets through, and writes down on which thread."""

    every_frame = True

    def __init__(self, work: Callable[[int], object] = lambda _: None) -> None:
        self.taken: list[int] = []
        self.threads: set[str] = set()
        self.closed = False
        self._work = work

    def write(self, result: Result) -> None:
        self._work(result.frame.index)
        self.taken.append(result.frame.index)
        self.threads.add(threading.current_thread().name)

    def close(self) -> None:
        self.closed = True
        self.threads.add(threading.current_thread().name)


def behind(sink: Slow) -> Background:
    return Background(Guarded("slow", sink))


def write_all(queue: Background, count: int, source: Origin = FILE) -> None:
    for index in range(count):
        queue.write(make_result(index, source=source))


def seconds(action: Callable[[], object]) -> float:
    begun = time.monotonic()
    action()
    return time.monotonic() - begun


def test_all_is_taken_in_order_on_one_other_thread() -> None:
    sink = Slow()
    queue = behind(sink)
    write_all(queue, COUNT)
    queue.close()
    assert sink.taken == list(range(COUNT))
    assert sink.threads == {"sink slow"}
    assert sink.closed
    assert (queue.counts.missed, queue.broken) == (0, False)


def test_a_sink_that_hangs_holds_no_live_run_and_what_it_missed_is_counted() -> None:
    valve = threading.Event()
    sink = Slow(lambda _: valve.wait())
    queue = behind(sink)
    assert seconds(lambda: write_all(queue, COUNT, CAMERA)) < 1
    assert COUNT - ROOM - 1 <= queue.counts.missed <= COUNT - ROOM
    valve.set()
    queue.close()
    # The newest are kept: the first was begun before the queue was full, then the last ROOM of them.
    assert sink.taken[-ROOM:] == list(range(COUNT - ROOM, COUNT))
    assert len(sink.taken) + queue.counts.missed == COUNT
    assert sink.closed


def test_predictions_are_dropped_before_events_and_that_is_told_where_it_lasts(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stpr.runtime.sinks.background.PATIENCE", 0.1)
    valve = threading.Event()
    sink = Slow(lambda _: valve.wait())
    queue = behind(sink)
    then = "2026-01-01T00:00:00+00:00"
    event = Start(id=1, label="wave", stage=1, score=0.9, frame=0, time=then, peak_frame=0, peak_time=then)
    for index in range(COUNT):
        result = make_result(index, source=CAMERA)
        queue.write(replace(result, events=(event,)) if index in {20, 30} else result)
        time.sleep(0.005)
    valve.set()
    queue.close()
    assert {20, 30} <= set(sink.taken)
    assert sorted(sink.taken) == sink.taken
    assert 0 < len(caplog.messages) < queue.counts.missed
    for words in caplog.messages:
        assert re.fullmatch(r"slow: slower than what it is to take, \d+ results were dropped so far", words)


def test_nothing_of_a_recorded_source_is_lost_however_slow_the_sink() -> None:
    sink = Slow(lambda _: time.sleep(0.005))
    queue = behind(sink)
    writing = seconds(lambda: write_all(queue, COUNT))
    assert writing > 0.005 * (COUNT - ROOM - 2)  # it waited for room
    queue.close()
    assert sink.taken == list(range(COUNT))
    assert queue.counts.missed == 0


def test_closing_waits_for_a_recorded_source_longer_than_for_a_live_one() -> None:
    slow = 2 * CLOSE_SECONDS / ROOM
    for source, whole in ((FILE, True), (CAMERA, False)):
        sink = Slow(lambda _: time.sleep(slow))
        queue = behind(sink)
        write_all(queue, ROOM, source)
        took = seconds(queue.close)
        assert (len(sink.taken) == ROOM) == whole
        assert len(sink.taken) + queue.counts.missed == ROOM
        assert sink.closed
        assert took < (4 if whole else 2) * CLOSE_SECONDS


@pytest.mark.parametrize("source", [CAMERA, FILE], ids=["live", "recorded"])
def test_a_sink_that_hangs_for_good_is_left_behind_when_the_run_is_stopped(
    caplog: pytest.LogCaptureFixture, source: Origin
) -> None:
    valve = threading.Event()
    queue = behind(Slow(lambda _: valve.wait()))
    threading.Timer(0.3, queue.stop).start()
    write_all(queue, ROOM + 2, source)  # a recorded source waits here until stop
    assert seconds(queue.close) < 2 * CLOSE_SECONDS + 0.5
    assert queue.counts.missed >= ROOM
    assert caplog.messages == ["slow hangs and is abandoned; its output may be incomplete."]
    valve.set()


def test_after_stop_a_full_queue_drops_instead_of_waiting() -> None:
    valve = threading.Event()
    queue = behind(Slow(lambda _: valve.wait()))
    queue.stop()
    assert seconds(lambda: write_all(queue, COUNT)) < 1
    assert queue.counts.missed >= COUNT - ROOM - 1
    valve.set()
    queue.close()


def test_what_comes_while_the_sink_ends_and_after_it_is_counted() -> None:
    """The main thread of a run that is stopped may still have a frame in hand when its sinks were told to finish."""
    valve = threading.Event()
    sink = Slow(lambda _: None)
    sink.close = valve.wait  # type: ignore[method-assign, assignment]
    queue = behind(sink)
    queue.write(make_result(0, source=CAMERA))
    queue.finish()
    time.sleep(0.1)
    queue.write(make_result(1, source=CAMERA))  # it ends just now
    valve.set()
    queue.close()
    queue.write(make_result(2, source=CAMERA))
    assert sink.taken == [0]
    assert queue.counts.missed == 2


def fails_at(index: int, error: Exception) -> Callable[[int], None]:
    def work(found: int) -> None:
        if found == index:
            raise error

    return work


@pytest.mark.parametrize(
    ("error", "line", "traceback"),
    [
        (StprError("the disk is full; make room."), "the disk is full; make room.", False),
        (KeyError("colour"), "KeyError('colour')", True),
    ],
)
def test_a_sink_that_breaks_is_told_once_counted_and_closed(
    caplog: pytest.LogCaptureFixture, error: Exception, line: str, *, traceback: bool
) -> None:
    sink = Slow(fails_at(10, error))
    queue = behind(sink)
    write_all(queue, COUNT)
    queue.close()
    assert [record.getMessage() for record in caplog.records] == [f"slow stopped, recognition continues: {line}"]
    assert bool(caplog.records[0].exc_info) == traceback
    assert sink.taken == list(range(10))
    assert (queue.counts.missed, queue.broken, sink.closed) == (COUNT - 10, True, True)


@pytest.mark.parametrize("end", [StopRun(), BrokenPipeError()], ids=["asked to stop", "its reader has gone"])
def test_what_ends_the_run_reaches_its_thread(caplog: pytest.LogCaptureFixture, end: Exception) -> None:
    sink = Slow(fails_at(3, end))
    queue = behind(sink)
    with pytest.raises(type(end)):
        write_all(queue, 10**6)
    queue.close()  # told once
    assert sink.taken == [0, 1, 2]
    assert sink.closed
    assert not caplog.records
    last = behind(Slow(fails_at(0, end)))
    last.write(make_result(0))
    with pytest.raises(type(end)):
        last.close()
