"""What real servers on the loopback answer, and what is said about it."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.request import parse_http_list, parse_keqv_list

import pytest

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.sources.network import SourceOptions, connect_stream
from stpr.runtime.sources.reasons import FIXES, parted
from tests.runtime.sources.test_jpegs import ALL

SOON = SourceOptions(stall_seconds=1.0)


def response(method: str, path: str, asked: dict[str, str]) -> str:
    """RFC 2617 by hand, for user me and password s:ecret."""

    def digest(*parts: str) -> str:
        return hashlib.md5(":".join(parts).encode()).hexdigest()

    first, second = digest("me", asked["realm"], "s:ecret"), digest(method, path)
    return digest(first, asked["nonce"], asked["nc"], asked["cnonce"], asked["qop"], second)


class Web(BaseHTTPRequestHandler):
    tries: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        given, path = self.headers.get("Authorization", ""), self.path
        self.tries.append(given)
        if (path == "/digest" and self._may(given)) or (path == "/basic" and given == BASIC) or path == "/open":
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=b")
            self.end_headers()
            self.wfile.write(b"".join(ALL))
            return
        self.send_response({"/gone": 404, "/busy": 503}.get(path, 401))
        asks = 'Digest realm="cam, one", nonce="abc", qop="auth"' if path == "/digest" else 'Basic realm="cam"'
        self.send_header("WWW-Authenticate", asks)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _may(self, given: str) -> bool:
        kind, _, rest = given.partition(" ")
        told = parse_keqv_list(parse_http_list(rest)) if kind == "Digest" else {}
        return bool(told) and told["response"] == response("GET", "/digest", told)

    def log_message(self, format: str, *args: object) -> None:
        pass


BASIC = "Basic " + base64.b64encode(b"me:s:ecret").decode()


@contextmanager
def web() -> Iterator[str]:
    Web.tries = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@contextmanager
def says(answer: Callable[[bytes], bytes | None], *, once: bool = False) -> Iterator[str]:
    """A server that answers each message, or the first of a connection, with what the function makes of it.

    None hangs up.
    """
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as open_ones:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection = open_ones.enter_context(server.accept()[0])
                    threading.Thread(target=talk, args=(connection,), daemon=True).start()

        def talk(connection: socket.socket) -> None:
            with suppress(OSError):
                while (got := connection.recv(4096)) and (said := answer(got)) is not None:
                    connection.sendall(said)
                    if once:
                        break
                connection.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def rtsp(status: int, more: str = "") -> Callable[[bytes], bytes]:
    def answer(asked: bytes) -> bytes:
        number = re.search(rb"CSeq: *(\d+)", asked)
        assert number is not None
        return b"RTSP/1.0 %d So\r\nCSeq: %s\r\n%s\r\n" % (status, number[1], more.encode())

    return answer


def reason(url: str) -> SourceError:
    with pytest.raises(SourceError) as caught:
        connect_stream(url, SOON)
    assert "ecret" not in caught.value.message
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("path", ["digest", "basic", "open"])
def test_a_login_is_given_as_it_is_asked_for(path: str) -> None:
    with web() as place, closing(connect_stream(f"http://me:s%3Aecret@{place}/{path}", SOON)) as capture:
        assert capture.read() is not None


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("digest", "unauthorised", r"other credentials \(401\)"),
        ("basic", "unauthorised", r"other credentials \(401\)"),
        ("gone", "not found", r"no such stream \(404\)"),
        ("busy", "refused", r"an error \(503\)"),
    ],
)
def test_what_an_http_server_answers(path: str, code: str, words: str) -> None:
    with web() as place:
        error = reason(f"http://me:secret@{place}/{path}")
    assert error.code == code
    assert re.search(rf"^no stream at http://\*\*\*@[\d.:]+/{path}: {code}, .*{words}; {FIXES[code]}", error.message)
    assert len([given for given in Web.tries if given]) <= 1  # a wrong password is tried once


@pytest.mark.parametrize(
    ("status", "code"), [(401, "unauthorised"), (404, "not found"), (500, "refused"), (200, "codec")]
)
def test_what_an_rtsp_server_answers(status: int, code: str) -> None:
    with says(rtsp(status, 'WWW-Authenticate: Digest realm="cam", nonce="1"\r\n')) as place:
        assert reason(f"rtsp://me:secret@{place}/live").code == code


def test_an_rtsp_server_that_offers_sound_alone() -> None:
    offer = "v=0\r\ns=yard\r\nm=audio 0 RTP/AVP 8\r\na=control:track1\r\n"
    with says(rtsp(200, f"Content-Type: application/sdp\r\nContent-Length: {len(offer)}\r\n\r\n{offer}")) as place:
        error = reason(f"rtsp://{place}/live")
    assert (error.code, "no picture there, the server offers audio alone" in error.message) == ("not found", True)


@pytest.mark.parametrize("scheme", ["http", "rtsp", "rtmp"])
def test_nobody_there(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    error = reason(f"{scheme}://127.0.0.1:{port}/live")
    assert (error.code, f"nothing listens at 127.0.0.1:{port}" in error.message) == ("refused", True)
    error = reason(f"{scheme}://no.such.host.invalid/live")
    assert (error.code, "there is no host no.such.host.invalid" in error.message) == ("not found", True)


def test_a_proxy_that_is_gone_or_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        gone = f"127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.setenv("http_proxy", f"http://me:secret@{gone}/")
    error = reason("http://192.0.2.7/live")
    assert error.code == "refused"
    assert f"nothing listens at {gone}, the proxy that http_proxy sets (no_proxy=HOST " in error.message
    assert "secret" not in error.message
    with says(lambda _: b"HTTP/1.0 502 no\r\n\r\n") as place:
        monkeypatch.setenv("http_proxy", place)
        assert f"an error (502), by way of {place}, the proxy" in reason("http://192.0.2.7/live").message
        monkeypatch.setenv("no_proxy", place.partition(":")[0])
        assert "proxy" not in reason(f"http://{place}/live").message


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_server_that_is_silent_or_hangs_up(scheme: str) -> None:
    with says(lambda _: b"") as place:
        assert reason(f"{scheme}://{place}/live").code == "timeout"
    with says(lambda _: None) as place:
        assert reason(f"{scheme}://{place}/live").code == "gone"


def test_what_speaks_no_tls() -> None:
    with says(lambda _: b"HTTP/1.0 400 no\r\n\r\n") as place:
        assert reason(f"https://{place}/live").code == "tls"


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ("200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\nhey!", "not found", "it is a web page, not a"),
        (
            "200 OK\r\nContent-Type: image/png\r\nContent-Length: 4\r\n\r\nhey!",
            "not found",
            "a single picture (png), not a",
        ),
        ("200 OK\r\nContent-Type: audio/mpeg\r\n\r\nhey!", "not found", "no picture there, it is sound alone (mpeg)"),
        (
            "200 OK\r\nContent-Type: video/mp4\r\nContent-Length: 4\r\n\r\nhey!",
            "codec",
            "the video there is damaged, truncated",
        ),
        ("200 OK\r\nContent-Type: video/mp4\r\n\r\nhey!", "codec", "what it sends can't be decoded here"),
        ("302 So\r\nContent-Length: 0\r\n\r\n", "not found", "the server redirects without a target (302)"),
        (
            "302 So\r\nLocation: rtsp://a:b@c/d\r\n\r\n",
            "not found",
            "redirects to rtsp://***@c/d (302), which does not lead to a",
        ),
    ],
)
def test_what_is_no_stream(answer: str, code: str, words: str) -> None:
    with says(lambda asked: f"HTTP/1.0 {answer}".encode() if asked else None, once=True) as place:
        error = reason(f"http://{place}/live")
    assert (error.code, words in error.message) == (code, True), error.message


@pytest.mark.parametrize(
    "answer", [b"ICY 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\n" + 101 * b"X: y\r\n" + b"\r\n", b"no\n"]
)
def test_what_does_not_speak_http_is_one_line(answer: bytes) -> None:
    with says(lambda _: answer, once=True) as place:
        error = reason(f"http://{place}/live")
    assert (error.code, "it answers, but not with valid HTTP" in error.message) == ("refused", True)


def test_the_user_is_parted_from_the_address() -> None:
    assert parted("rtsp://cam/a@b") == ("rtsp://cam/a@b", None)
    assert parted("rtsp://me:p%40%3a@cam:1/a") == ("rtsp://cam:1/a", ("me", "p@:"))
    assert parted("rtsp://me:p@ss@cam") == ("rtsp://cam", ("me", "p@ss"))
