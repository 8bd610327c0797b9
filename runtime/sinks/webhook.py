"""`--webhook`: post the start and the end of each action to a URL as JSON, one by one and in order."""

from __future__ import annotations

import http.client
import logging
import socket
import ssl
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from stpr.runtime.contract.errors import StprError
from stpr.runtime.log import Overdue
from stpr.runtime.result import Result
from stpr.runtime.settings import Settings
from stpr.runtime.sinks.credentials import read_secret
from stpr.runtime.sinks.sink import MissedError

TIMEOUT: Final = 5.0  # seconds for the server to answer
PAUSES: Final = (0.5, 2.0)  # seconds before the second and the third attempt
RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})  # status codes to retry; others would not change

log = logging.getLogger(__name__)


class Webhook:
    """Posts events; one that is not accepted after three attempts is dropped and counted."""

    every_frame = False

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        """`url` must be validated by `_address`."""
        self._parts, self._headers = urlsplit(url), {"Content-Type": "application/json"} | headers
        self._context = ssl.create_default_context() if self._parts.scheme == "https" else None

    def write(self, result: Result) -> None:
        """Post the result's events. Raises MissedError if the server does not accept one."""
        missed = None
        for event in result.events:
            line = {"source": result.frame.source.name} | msgspec.to_builtins(event)
            with Overdue(self._is_silent):
                missed = self._deliver(msgspec.json.encode(line)) or missed
        if missed is not None:  # without the path, which may contain a secret
            raise MissedError(f"{self._parts.netloc} did not accept an event: {missed}; check the server.")

    def _is_silent(self, seconds: float) -> None:
        log.warning("webhook: %s has not accepted an event within %.0f s; trying on.", self._parts.netloc, seconds)

    def close(self) -> None:
        """Nothing to close; connections are not kept open."""

    def _deliver(self, body: bytes) -> str | None:
        """Post with retries; returns why the server did not accept it, None on success."""
        for pause in (*PAUSES, None):
            again, reason = self._post(body)
            if pause is None or not again:
                break
            time.sleep(pause)
        return reason

    def _post(self, body: bytes) -> tuple[bool, str | None]:
        """Post once; returns whether to retry, and the reason of a failure (None on success)."""
        connection, target = self._connection(), self._parts._replace(scheme="", netloc="", fragment="").geturl()
        late = threading.Timer(TIMEOUT, _hang_up, [connection])  # also for a server that sends a byte now and then
        begun = time.monotonic()
        late.start()
        try:
            connection.request("POST", target or "/", body, self._headers)
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            return True, _words(TimeoutError() if time.monotonic() - begun >= TIMEOUT else error)
        finally:
            late.cancel()
            connection.close()
        # Redirects are not followed, so that our secret goes to no other server.
        if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return False, None
        return (
            answer.status in RETRIED,
            f"it answered {answer.status} {http.client.responses.get(answer.status, '')}".rstrip(),
        )

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._context is None:
            return http.client.HTTPConnection(host, port, timeout=TIMEOUT)
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=self._context)


def _hang_up(connection: http.client.HTTPConnection) -> None:
    if (line := connection.sock) is not None:
        with suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)


def open_webhook(settings: Settings) -> Webhook | None:
    """Open the sink if `--webhook` is set. Raises StprError for an invalid URL; does not contact the server."""
    if settings.webhook is None:
        return None
    return Webhook(_address(settings.webhook), _header(settings.webhook_header))


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        url.encode("ascii")
    except ValueError:
        good = False
    if good and parts.username is not None:
        raise StprError("--webhook must not hold a password, which every process here can read; use --webhook-header.")
    if not good or " " in url:
        raise StprError("--webhook is not a URL that can be posted to; write http://HOST[:PORT]/PATH or https://.")
    return url


def _header(path: Path | None) -> dict[str, str]:
    """Read a header from the first line of a file, such as `Authorization: Bearer …`."""
    if path is None:
        return {}
    name, colon, value = read_secret(path, "--webhook-header", 1)[0].partition(":")
    value = value.strip()
    if not colon or not name.replace("-", "").isalnum() or not name.isascii() or not value.isprintable():
        raise StprError(f"--webhook-header {path} has no header; write a line such as Authorization: Bearer SECRET.")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError as error:
        raise StprError(f"--webhook-header {path} has letters that headers can't have; use Latin ones.") from error
    return {name: value}


def _words(error: object) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer in {TIMEOUT:g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, http.client.HTTPException) and not isinstance(error, http.client.RemoteDisconnected):
        return "its answer is not HTTP"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
