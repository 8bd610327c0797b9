from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
import pytest

from stpr.runtime import motions
from stpr.runtime.contract.errors import SourceError
from stpr.runtime.sources import SYNTHETIC, WhenBehind, open_source
from stpr.runtime.sources.capture import Shot
from stpr.runtime.sources.live import LiveSource

PIXEL = np.zeros((2, 2, 3), np.uint8)


class Scripted:
    """A capture that plays a list: frames, None (lost), an exception (broken), or a number of seconds to wait."""

    dropped = 0
    skipped = 0

    def __init__(self, *script: Shot | Exception | float | None) -> None:
        self.script = iter(script)
        self.closed = False

    def read(self) -> Shot | None:
        step = next(self.script, None)
        while isinstance(step, float):
            time.sleep(step)
            step = next(self.script, None)
        if isinstance(step, Exception):
            raise step
        return step

    def close(self) -> None:
        self.closed = True


def shots(count: int, pause: float = 0.0) -> list[Shot | float]:
    return [step for number in range(count) for step in (pause, Shot(PIXEL, str(number)))]


def connecting(*captures: Scripted | SourceError) -> Callable[[], Scripted]:
    """A connect function that gives these captures one after the other, then fails for good."""
    queue = iter(captures)

    def connect() -> Scripted:
        capture = next(queue, SourceError("nothing is left"))
        if isinstance(capture, SourceError):
            raise capture
        return capture

    return connect


def labels(source: LiveSource, *, pause: float = 0.0, count: int = 10**6) -> Iterator[str | None]:
    for number, frame in enumerate(source, start=1):
        yield frame.label
        if number == count:
            source.stop()
        time.sleep(pause)


def test_a_slow_reader_gets_the_newest_frame_and_drops_are_counted() -> None:
    with closing(LiveSource("camera", connecting(Scripted(*shots(40, 0.01), 0.3)))) as source:
        frames = []
        for frame in source:
            frames.append(frame)
            time.sleep(0.1)
            if frame.index == 39:
                source.stop()
    assert 3 <= len(frames) <= 12
    assert source.dropped == 40 - len(frames)
    assert all(frame.label == str(frame.index) for frame in frames)
    # The age of what the reader gets never grows: a queue would have made each later than the one before.
    gaps = np.diff([frame.captured_at for frame in frames])
    assert (gaps > 0).all()


def test_a_reader_that_must_have_all_is_waited_for() -> None:
    source = LiveSource("camera", connecting(Scripted(*shots(30))), when_behind=WhenBehind.WAIT, first_pause=9)
    with closing(source):
        assert list(labels(source, pause=0.002, count=30)) == [str(number) for number in range(30)]
    assert source.dropped == 0


def test_a_missing_camera_is_the_callers_error_at_once() -> None:
    with pytest.raises(SourceError, match="nothing there"):
        LiveSource("camera", connecting(SourceError("nothing there")))


def test_what_breaks_the_reader_is_raised_by_the_next_frame() -> None:
    broken = Scripted(Shot(PIXEL, "a"), 0.05, ZeroDivisionError("in the driver"))
    with closing(LiveSource("camera", connecting(broken))) as source:
        frames = iter(source)
        assert next(frames).label == "a"
        with pytest.raises(ZeroDivisionError, match="in the driver"):
            next(frames)


def test_a_lost_connection_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    first, second = Scripted(Shot(PIXEL, "before"), 0.05), Scripted(Shot(PIXEL, "after"), 0.3)
    connect = connecting(first, SourceError("not yet"), SourceError("not yet"), second)
    with closing(LiveSource("rtsp://***@cam/1", connect, first_pause=0.02)) as source:
        assert list(labels(source, count=2)) == ["before", "after"]
        assert source.reconnects == 1
    assert first.closed
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "rtsp://***@cam/1 gives no frames; reconnecting until it does."
    assert said[1] == "still without rtsp://***@cam/1 after 0 s: not yet"
    assert said[2].startswith("rtsp://***@cam/1 is back after 0.")


def test_attempts_to_connect_grow_rarer() -> None:
    attempts = []

    def connect() -> Scripted:
        attempts.append(time.monotonic())
        if len(attempts) == 1:
            return Scripted(Shot(PIXEL, "only"))
        raise SourceError("gone")

    with closing(LiveSource("camera", connect, first_pause=0.02)) as source:
        next(iter(source))
        time.sleep(0.5)
    pauses = np.diff(attempts)
    assert len(pauses) >= 3
    assert (pauses >= 0.99 * 0.02 * 2.0 ** np.arange(len(pauses))).all()  # a busy machine can but lengthen them


@pytest.mark.parametrize("capture", [Scripted(*shots(1), 0.5), Scripted()], ids=["reading", "reconnecting"])
def test_stop_wakes_a_reader_that_waits(capture: Scripted) -> None:
    with closing(LiveSource("camera", connecting(capture), first_pause=9)) as source:
        timer = threading.Timer(0.1, source.stop)
        timer.start()
        started = time.monotonic()
        list(source)
        assert time.monotonic() - started < 1
        timer.join()


def test_the_synthetic_source_is_live_paced_and_knows_the_truth() -> None:
    with closing(open_source(SYNTHETIC)) as source:
        frames = []
        for frame in source:
            frames.append(frame)
            if len(frames) == 17:
                break
    assert source.origin.is_live
    assert {frame.label for frame in frames} <= set(motions.CLASSES)
    seconds = frames[-1].captured_at - frames[0].captured_at
    assert seconds == pytest.approx((frames[-1].index - frames[0].index) / motions.FPS, abs=0.15)
