from __future__ import annotations

import io
import os
import re
import threading
import time
from contextlib import closing

import pytest

from stpr.runtime import log
from stpr.runtime.contract.errors import SourceError
from stpr.runtime.sources import pictures as pictures_module
from stpr.runtime.sources.jpegs import decoded, jpegs
from stpr.runtime.sources.pictures import PictureCapture
from tests.runtime.sources.test_jpegs import ALL


def piped(reading: int, *, stall_seconds: float) -> PictureCapture:
    pictures = jpegs(lambda: os.read(reading, 1 << 16))
    return PictureCapture(pictures, decoded, lambda: os.close(reading), stall_seconds=stall_seconds)


def test_a_damaged_picture_is_counted_and_passed_over() -> None:
    broken = bytearray(ALL[0])
    broken[2:20] = b"\xff\xda\x00\x02" + bytes(14)
    file = io.BytesIO(bytes(broken) + ALL[3])
    capture = PictureCapture(jpegs(lambda: file.read(1000)), decoded, file.close, stall_seconds=5)
    shot = capture.read()
    assert shot is not None
    assert shot.image.mean() > 240
    assert capture.read() is None
    assert (capture.skipped, capture.dropped) == (1, 0)
    assert file.closed


def test_a_camera_whose_pictures_are_all_damaged_is_one_line() -> None:
    """Pictures keep coming, so it is no silence; without a word a run would wait for ever."""
    ends = time.monotonic() + 5
    broken = [ALL[2][:-40]] * 2

    def sent() -> bytes:
        time.sleep(0.02)
        return b"".join(broken) if time.monotonic() < ends else b""

    capture = PictureCapture(jpegs(sent), decoded, lambda: None, stall_seconds=0.3)
    with pytest.raises(SourceError, match=r"^none of the last \d+ pictures can be decoded: they are damaged") as caught:
        capture.read()
    capture.close()
    assert caught.value.code == "codec"
    assert capture.skipped > 5


def test_nothing_grows_old_in_the_pipe() -> None:
    """Pictures come at 100 a second and are read at 10."""
    reading, writing = os.pipe()
    capture = PictureCapture(
        jpegs(lambda: os.read(reading, 1 << 16)), decoded, lambda: os.close(reading), stall_seconds=5
    )
    ages, sent = [], 0
    for turn in range(10):
        for _ in range(10):
            os.write(writing, ALL[turn % 2])
            sent += 1
            time.sleep(0.01)
        shot = capture.read()
        assert shot is not None
        assert shot.seen_at is not None
        ages.append(time.monotonic() - shot.seen_at)
    os.close(writing)
    while capture.read() is not None:
        sent -= 1
    assert max(ages) < 0.6
    assert capture.dropped == sent - len(ages) > 40


def test_a_silent_pipe_is_lost_in_time() -> None:
    reading, writing = os.pipe()
    capture = PictureCapture(
        jpegs(lambda: os.read(reading, 1 << 16)), decoded, lambda: os.close(reading), stall_seconds=0.2
    )
    begun = time.monotonic()
    with pytest.raises(SourceError, match=r"no frame came for 0\.2 s"):
        capture.read()
    assert 0.1 < time.monotonic() - begun < 2
    os.close(writing)


def test_a_pipe_that_is_silent_under_way_is_waited_for_with_a_word(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pictures_module, "SILENT_SECONDS", 0.2)
    monkeypatch.setattr(log, "FIRST_WORD_SECONDS", 0.3)
    reading, writing = os.pipe()
    source = PictureCapture(
        jpegs(lambda: os.read(reading, 1 << 16)), decoded, lambda: os.close(reading), stall_seconds=None
    )
    with closing(source) as capture:
        os.write(writing, ALL[0])
        assert capture.read() is not None
        timer = threading.Timer(0.8, os.write, (writing, ALL[0]))
        timer.start()
        assert capture.read() is not None
        timer.join()
        os.close(writing)
    (said,) = caplog.messages
    assert re.fullmatch(r"standard input has given no picture for \d s; waiting for it\.", said)
