"""Pass a video from an HTTP server on to OpenCV's FFmpeg, so that a transfer that is cut short is noticed.

    server ── bytes ──▶ Relay, which counts them ── loopback ──▶ FFmpeg in OpenCV

OpenCV does not tell the end of a connection from the end of a video, and many containers (MPEG-TS, raw streams, mkv and
flv as written to a pipe) say nothing about their length. HTTP does: by Content-Length, by the last chunk, or by an
error of the connection. FFmpeg's range requests are passed on, so that it can read an index at the end of a file, and
go on where a server has cut the connection.
"""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import quote, unquote

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.sources.reasons import ask_http, fault

PIECE: Final = 1 << 16
PASSED_ON: Final = ("Content-Type", "Content-Length", "Content-Range", "Accept-Ranges")
POLL_SECONDS: Final = 0.1  # how often the server looks whether it is to end


class Relay:
    """One video, at `address` on this machine, until closed."""

    def __init__(self, url: str, seconds: float) -> None:
        """`seconds`: how long the server may send nothing."""
        self.cut: tuple[str, str] | None = None  # why the last transfer ended too soon: a code, and words
        self._url, self._seconds = url, seconds
        self._last: HTTPResponse | None = None
        self._server = _Server(self)
        # FFmpeg knows some kinds of videos by their name; the rest keeps other users of this machine out.
        name = quote(unquote(url.partition("?")[0].rpartition("/")[2]), safe="")
        self.path = f"/{secrets.token_urlsafe()}/{name}"
        self.address = f"http://127.0.0.1:{self._server.server_port}{self.path}"
        threading.Thread(target=self._server.serve_forever, args=(POLL_SECONDS,), name="relay", daemon=True).start()

    def close(self) -> None:
        """End; transfers under way are given up."""
        self._server.shutdown()
        self._server.server_close()

    def ask(self, wanted: str | None) -> HTTPResponse:
        """The server's response to a request for a range, or for all; raises SourceError on failure."""
        answer = ask_http(self._url, self._seconds, wanted)
        # A server that begins anew instead does not go on with what was cut; FFmpeg gives this response up.
        if answer.status == 206 or wanted in {None, "bytes=0-"}:
            self._last, self.cut = answer, None
        return answer

    def pieces(self, answer: HTTPResponse) -> Iterator[bytes]:
        """The bytes of a response until its end, or until it is cut."""
        cut = None
        try:
            while piece := answer.read1(PIECE):
                yield piece
            if answer.length:
                cut = ("gone", f"the server hung up {answer.length:,} bytes before the end")
        except TimeoutError:
            cut = ("timeout", f"nothing more came within {self._seconds:g} s")
        except HTTPException:
            cut = ("gone", "the server hung up without the last chunk")
        except OSError as error:
            cut = fault(error, self._url, self._seconds)
        if answer is self._last:  # not one that FFmpeg has left for another part of the file
            self.cut = cut


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """Say nothing of a reader that has gone: FFmpeg leaves a connection to read elsewhere in the file."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """Answer with what the server answers."""
        relay = self.server.relay
        if self.path != relay.path:
            self.send_error(404)
            return
        try:
            answer = relay.ask(self.headers.get("Range"))
        except SourceError:
            self.send_error(502)
            return
        with answer:
            self.send_response(answer.status)
            for name in PASSED_ON:
                if (value := answer.headers.get(name)) is not None:
                    self.send_header(name, value)
            self.end_headers()
            for piece in relay.pieces(answer):
                self.wfile.write(piece)

    def log_message(self, format: str, *args: object) -> None:
        """FFmpeg's requests are no news."""
