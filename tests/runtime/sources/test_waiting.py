from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress

import pytest

from stpr.runtime import log
from stpr.runtime.contract.errors import SourceError
from stpr.runtime.log import AT_ONCE
from stpr.runtime.sources import SourceOptions, open_source
from stpr.runtime.sources import live as live_module
from stpr.runtime.sources.live import LOCKED_OUT_PAUSE, LONGEST_PAUSE, pause_after
from stpr.runtime.sources.outage import Outage
from tests.runtime.sources.test_network import camera
from tests.runtime.sources.test_reasons import web

WAIT = SourceOptions(stall_seconds=1.0, wait=True)


@contextmanager
def says_slowly(answer: bytes, seconds: float) -> Iterator[str]:
    """A server that sends one byte of its answer at a time."""

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            for byte in answer:
                connection.sendall(bytes([byte]))
                time.sleep(seconds)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def test_a_camera_that_is_not_up_yet_is_waited_for_with_the_reason_said(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with closing(open_source(f"http://127.0.0.1:{port}/video", WAIT)) as source:
        assert source.dropped == source.reconnects == source.skipped == 0
        frames = iter(source)
        up = threading.Event()

        def later() -> None:
            time.sleep(0.7)
            with camera(port):
                up.wait(10)

        thread = threading.Thread(target=later)
        thread.start()
        assert next(frames).index == 0
        up.set()
        thread.join()
    first, *_, last = [record.getMessage() for record in caplog.records if "127.0.0.1" in record.getMessage()]
    assert f"still without http://127.0.0.1:{port}/video after 0 s: no stream at" in first
    assert "refused, nothing listens" in first
    assert "is back after" in "".join((first, *_, last))


def test_without_waiting_it_is_an_error_and_so_is_what_no_waiting_mends() -> None:
    with pytest.raises(SourceError, match="refused, nothing listens"):
        open_source("http://127.0.0.1:9/video")
    with pytest.raises(SourceError, match="names no sensor"):
        list(open_source("csi://left", WAIT))
    with pytest.raises(SourceError, match="there is no file or folder"):
        open_source("no/such/clip.mp4", WAIT)


@pytest.mark.parametrize("wait", [True, False])
def test_what_answers_slowly_is_waited_for_with_a_word(
    wait: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Headers that come a byte at a time, none of which is late: no time limit ends that."""
    monkeypatch.setattr(log, "FIRST_WORD_SECONDS", 0.3)
    with says_slowly(b"HTTP/1.0 404 No\r\nContent-Length: 0\r\n\r\n", 0.03) as place:
        options = SourceOptions(stall_seconds=1.0, wait=wait)
        ends = nullcontext() if wait else pytest.raises(SourceError, match="no such stream")
        with ends, closing(open_source(f"http://{place}/video", options)) as source:
            threading.Timer(1.5, source.stop).start()
            assert list(source) == []
    lines = [record.getMessage() for record in caplog.records if "waiting for" in record.getMessage()]
    assert lines == [f"waiting for http://{place}/video, which has not answered within 0 s."]


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9/video", "97"])
def test_waiting_can_be_stopped(uri: str) -> None:
    with closing(open_source(uri, WAIT)) as source:
        timer = threading.Timer(0.3, source.stop)
        timer.start()
        begun = time.monotonic()
        assert list(source) == []
        assert time.monotonic() - begun < 3
        timer.join()


def test_wrong_credentials_are_not_tried_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong, gone = SourceError("no", code="unauthorised"), SourceError("no", code="refused")
    assert pause_after(wrong, 0.5) == LOCKED_OUT_PAUSE >= 300
    assert [pause_after(gone, pause) for pause in (0.5, 4.0, 8.0)] == [1.0, 8.0, LONGEST_PAUSE]
    monkeypatch.setattr(live_module, "LOCKED_OUT_PAUSE", 0.2)
    with web() as place, closing(open_source(f"http://me:wrong@{place}/basic", WAIT)) as source:
        threading.Timer(0.5, source.stop).start()
        assert list(source) == []


def test_an_outage_is_a_word_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage("door")
    with caplog.at_level(logging.WARNING):
        outage.begins(SourceError("nothing came.", code="timeout"))
        for _ in range(500):
            outage.goes_on(SourceError("refused, nothing listens.", code="refused"))
        outage.ends()
        for _ in range(100):  # it comes and goes
            outage.begins()
            outage.ends()
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "door gives no frames: nothing came; reconnecting until it does."
    assert said[1] == "still without door after 0 s: refused, nothing listens."
    assert said[2].startswith("door is back after 0.")
    assert len(said) == AT_ONCE


def test_what_was_left_out_is_counted(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    outage = Outage("door")
    for _ in range(10):
        outage.begins()
    now[0] += 61
    outage.goes_on(SourceError("nothing listens.", code="refused"))
    assert caplog.records[-1].getMessage() == (
        "still without door after 61 s: nothing listens. (6 lines like it were left out)"
    )
