"""Events posted to a real server that is slow, refuses, lies and dies."""

from __future__ import annotations

import dataclasses
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from stpr.runtime.contract.errors import StprError
from stpr.runtime.events import Start
from stpr.runtime.result import Result
from stpr.runtime.settings import Settings
from stpr.runtime.sinks import Counts, open_sinks
from stpr.runtime.sinks.sink import MissedError
from stpr.runtime.sinks.webhook import PAUSES, Webhook, open_webhook
from tests.runtime.sinks.results import CAMERA, make_result


class Server(ThreadingHTTPServer):
    """Answers each POST with the next of `answers`, the last of them for ever: a status, or a way not to answer."""

    daemon_threads = True

    def __init__(self, *answers: int | str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = list(answers)
        self.posted: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.came = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """Who hangs up is expected."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.came += 1
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self.server.answers[0] if len(self.server.answers) == 1 else self.server.answers.pop(0)
        if answer == "hang up":
            return
        if answer == "silence":
            time.sleep(3)
            return
        if answer == "drip":
            for letter in b"HTTP/1.1 200 OK\r\n\r\n" * 3:
                self.wfile.write(bytes([letter]))
                self.wfile.flush()
                time.sleep(0.2)
            return
        if answer == "junk":
            self.wfile.write(b"\x00\xff not HTTP\r\n\r\n")
            return
        assert isinstance(answer, int)
        if answer < 300:
            self.server.posted.append((self.path, dict(self.headers), json.loads(body)))
        self.send_response(answer)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def serving(*answers: int | str) -> Iterator[Server]:
    with Server(*answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stpr.runtime.sinks.webhook.PAUSES", tuple(pause / 50 for pause in PAUSES))
    monkeypatch.setattr("stpr.runtime.sinks.webhook.TIMEOUT", 0.5)


def opened(url: str, **changes: Any) -> Webhook:
    sink = open_webhook(Settings(source="0", webhook=url, **changes))
    assert sink is not None
    return sink


def event(number: int) -> Result:
    time = "2026-01-01T00:00:00+00:00"
    start = Start(id=number, label="wåve", stage=1, score=0.9, frame=5, time=time, peak_frame=5, peak_time=time)
    return dataclasses.replace(make_result(said=False, source=CAMERA), events=(start,))


def test_events_alone_are_posted_in_order_with_the_header_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "header").write_text("Authorization: Bearer s3cret\n")
    with serving(200, 201, 204) as server:
        settings = Settings(
            source="0", headless=True, webhook=f"{server.url}/hook?room=1", webhook_header=tmp_path / "header"
        )
        sinks = open_sinks(settings)
        for number in range(3):
            sinks.write(make_result(number, source=CAMERA))
            sinks.write(event(number))
        deadline = time.monotonic() + 5
        while len(server.posted) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        sinks.close()
    assert [line["id"] for _, _, line in server.posted] == [0, 1, 2]
    path, headers, line = server.posted[0]
    assert path == "/hook?room=1"
    assert (headers["Authorization"], headers["Content-Type"]) == ("Bearer s3cret", "application/json")
    assert line == {
        "source": "camera 0", "event": "start", "id": 0, "label": "wåve", "stage": 1, "score": 0.9, "frame": 5,
        "time": "2026-01-01T00:00:00+00:00", "peak_frame": 5, "peak_time": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    assert sinks.counts["webhook"] == Counts(written=3, dropped=0, failed=0)


@pytest.mark.parametrize("trouble", [500, 503, 429, "hang up", "silence", "drip", "junk"])
def test_what_may_pass_is_tried_three_times(trouble: int | str) -> None:
    with serving(trouble, trouble, 200) as server:
        opened(server.url).write(event(1))
        assert [line["id"] for _, _, line in server.posted] == [1]
        assert server.came == 3


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (500, "it answered 500 Internal Server Error"),
        ("hang up", "Remote end closed connection without response"),
        ("silence", "no answer in 0.5 s"),
        ("drip", "no answer in 0.5 s"),
        ("junk", "its answer is not HTTP"),
    ],
)
def test_what_does_not_pass_is_given_up_and_the_next_is_tried(trouble: int | str, words: str) -> None:
    with serving(trouble, trouble, trouble, 200) as server:
        sink = opened(f"{server.url}/s3cret")
        begun = time.monotonic()
        with pytest.raises(MissedError, match="did not accept an event") as caught:
            sink.write(event(1))
        assert time.monotonic() - begun < 3
        assert words in str(caught.value)
        assert "s3cret" not in str(caught.value)
        sink.write(event(2))
        assert [line["id"] for _, _, line in server.posted] == [2]


@pytest.mark.parametrize("answer", [301, 307, 400, 401, 404, 413])
def test_what_would_be_answered_alike_is_not_tried_again_nor_sent_elsewhere(answer: int) -> None:
    with serving(answer) as server:
        with pytest.raises(MissedError, match=f": it answered {answer} "):
            opened(server.url).write(event(1))
        assert server.came == 1


def test_a_server_that_is_dead_stops_neither_recognition_nor_the_end(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    sinks = open_sinks(Settings(source="0", headless=True, webhook=f"http://127.0.0.1:{port}"))
    begun = time.monotonic()
    for number in range(5):
        sinks.write(make_result(number, source=CAMERA))
        sinks.write(event(number))
    sinks.close()
    assert time.monotonic() - begun < 2
    assert sinks.counts["webhook"] == Counts(written=0, dropped=0, failed=5)
    assert not sinks.broken
    # One line for its readers: what repeats itself is left out where it is written (runtime/log.py).
    assert set(caplog.messages) == {
        f"webhook: 127.0.0.1:{port} did not accept an event: Connection refused; check the server."
    }


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    make += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "pem")]
    subprocess.run(make, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem", tmp_path / "key")
    with serving(200) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        with pytest.raises(MissedError, match="did not accept an event: self-signed certificate"):
            opened(server.url.replace("http", "https")).write(event(1))
        assert server.came == 0


@pytest.mark.parametrize("url", ["", "host", "ftp://host", "http://", "http://host:port", "http://a b/", "http://hö/"])
def test_what_is_no_address_is_one_line(url: str) -> None:
    with pytest.raises(StprError, match=r"^--webhook is not a URL that can be posted to; write http://HOST"):
        opened(url)


def test_a_password_on_the_command_line_is_refused_and_not_repeated() -> None:
    with pytest.raises(StprError, match="use --webhook-header") as caught:
        opened("https://adam:s3cret@host/")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "content", ["", "s3cret\n", "A b: s3cret\n", "A: s3cret\nB: s3cret\n", "A: s3cret\x01\n", "A: s3cret→\n"]
)
def test_a_file_of_a_header_that_is_none_is_one_line_without_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "header").write_text(content, encoding="utf-8")
    with pytest.raises(StprError, match=r"^--webhook-header .*header (has|holds) ") as caught:
        opened("http://host", webhook_header=tmp_path / "header")
    assert "s3cret" not in str(caught.value)


def test_a_server_that_takes_its_time_is_told_while_it_does(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("stpr.runtime.log.FIRST_WORD_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        with closing(opened(f"http://{place}/hook")) as sink, pytest.raises(MissedError, match=r"no answer in 0\.5 s"):
            sink.write(event(1))
    assert caplog.messages == [f"webhook: {place} has not accepted an event within 0 s; trying on."]
