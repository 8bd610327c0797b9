"""Run the server in a separate thread."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

from stpr.runtime.contract.command import one_line_errors
from stpr.runtime.contract.errors import StprError
from stpr.runtime.result import Result
from stpr.runtime.serve.access import Access, Address, read_address, read_token
from stpr.runtime.serve.board import Board
from stpr.runtime.session import Session
from stpr.runtime.settings import Settings

MOST_AT_ONCE: Final = 64  # concurrent requests; more are answered with 503
JOIN_SECONDS: Final = 1.0

log = logging.getLogger(__name__)

See: TypeAlias = Callable[[Session, Result], None]


@contextmanager
def serving(settings: Settings, board: Board) -> Iterator[See]:
    """Serve while the block runs, if `--serve` is set; yields a function to call with each result.

    Raises StprError if the address can't be used, or must not be used without a token.
    """
    if settings.serve is None:
        yield lambda *_: None
        return
    address = read_address(settings.serve)
    access = Access(address, read_token(settings.token_file))
    with one_line_errors("serve"):
        import uvicorn

        from stpr.runtime.serve import app

    for name in ("uvicorn.error", "asyncio"):
        logging.getLogger(name).addFilter(_as_a_line)
    config = uvicorn.Config(
        app.make_app(board, access),
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_AT_ONCE,
    )
    server = uvicorn.Server(config)
    with _listening(address) as listening:
        host, port = listening.getsockname()[:2]
        log.info("page at http://%s:%d/", f"[{host}]" if ":" in host else host, port)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="page", daemon=True)
        thread.start()
        try:
            yield board.see
        finally:
            board.is_over = server.should_exit = True
            thread.join(JOIN_SECONDS)


def _as_a_line(record: logging.LogRecord) -> bool:
    """Make a line of what a client sends against the protocol: it is no bug here, and needs no traceback."""
    error = record.exc_info[1] if record.exc_info else None
    if type(error).__module__.startswith("h11."):
        record.msg, record.args, record.exc_info = "a request to the page is not valid HTTP: %s.", (error,), None
        record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
    return True


def _listening(address: Address) -> socket.socket:
    try:
        host = "127.0.0.1" if address.host == "localhost" else address.host  # every browser also tries the IPv4 address
        found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, where = found[0]
        return socket.create_server(where[:2], family=family, backlog=MOST_AT_ONCE)
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (")[0]
        raise StprError(
            f"can't serve on {address.host}:{address.port} ({why}); choose another with --serve HOST:PORT."
        ) from error
