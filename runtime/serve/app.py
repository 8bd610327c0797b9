"""The web application: URLs and their handlers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from stpr.runtime.contract.errors import StprError
from stpr.runtime.serve import health, metrics, state
from stpr.runtime.serve.access import Access, Refusal
from stpr.runtime.serve.board import Board, coded
from stpr.runtime.serve.shelf import Film

PAGE: Final = Path(__file__).with_name("page.html")
LONGEST_WAIT: Final = 5.0  # seconds that a request waits for the next picture
LOOK_SECONDS: Final = 0.02
MOST_BYTES: Final = 4096  # of a request's body
MOST_PLAYING: Final = 4  # clips at once, since each is decoded here

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


class Update(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of an update request: the digest of the bundle to try next."""

    digest: str


def make_app(board: Board, access: Access) -> Starlette:
    """Create the application: reads are `GET`, writes are `POST`."""
    answers = Answers(board, takes_writes=access.takes_writes)
    read, write = partial(_guarded, access.refuses_read), partial(_guarded, access.refuses_write)
    return Starlette(
        routes=[
            Route("/", answers.page),
            Route("/healthz", answers.healthz),
            Route("/readyz", answers.readyz),
            Route("/metrics", read(answers.metrics)),
            Route("/state", read(answers.state)),
            Route("/bundle", read(answers.bundle)),
            Route("/picture", read(answers.picture)),
            Route("/clips", read(answers.clips)),
            Route("/clips/{name}", read(answers.clip)),
            Route("/clips/{name}/pictures", read(answers.pictures)),
            Route("/update", write(answers.update), methods=["POST"]),
            Route("/roll-back", write(answers.roll_back), methods=["POST"]),
        ],
        exception_handlers={HTTPException: _say, StprError: _say_ours, msgspec.MsgspecError: _say_unreadable},
    )


class Answers:
    """The handlers of all URLs, with access already checked."""

    def __init__(self, board: Board, *, takes_writes: bool) -> None:
        self._board, self._takes_writes = board, takes_writes
        self._playing = 0
        self._page = PAGE.read_text(encoding="utf-8")
        self._policy = _policy(self._page)

    async def page(self, _: Request) -> Response:
        """The page itself, without data of the run."""
        headers = {"Content-Security-Policy": self._policy, "Referrer-Policy": "no-referrer"} | UNCACHED
        return Response(self._page, media_type="text/html", headers=headers)

    async def healthz(self, _: Request) -> Response:
        """Liveness, and the running bundle."""
        return _json(health.health(self._board))

    async def readyz(self, _: Request) -> Response:
        """Readiness: 503 with the reasons if a camera has no current frames."""
        blind = health.not_ready(self._board)
        return _json({"ready": not blind, "blind": blind}, 503 if blind else 200)

    async def metrics(self, request: Request) -> Response:
        """Metrics for Prometheus."""
        text, kind = await run_in_threadpool(metrics.metrics, self._board, request.headers.get("accept", ""))
        return Response(text, headers={"Content-Type": kind})

    async def state(self, _: Request) -> Response:
        """The changing state that the page polls."""
        return _json(state.state(self._board) | {"takes_writes": self._takes_writes})

    async def bundle(self, _: Request) -> Response:
        """Facts about the bundle for the page."""
        return _json(await run_in_threadpool(state.bundle, self._board))

    async def picture(self, request: Request) -> Response:
        """The picture of a newer frame than `after`, as soon as there is one; 204 after LONGEST_WAIT."""
        name = request.query_params.get("camera", next(iter(self._board.cameras)))
        after = request.query_params.get("after", "-1")
        if name not in self._board.cameras or not re.fullmatch(r"-1|[0-9]{1,18}", after):
            raise HTTPException(404, "there is no such camera or picture.")
        until = time.monotonic() + LONGEST_WAIT
        while time.monotonic() < until and not self._board.is_over:
            newest = self._board.cameras[name].newest
            if newest is not None and newest.frame.index != int(after):
                index, picture = await run_in_threadpool(self._board.picture, name)
                return Response(picture, media_type="image/jpeg", headers={"X-Frame": str(index)})
            await asyncio.sleep(LOOK_SECONDS)
        return Response(status_code=204)

    async def clips(self, _: Request) -> Response:
        """List the clips of events."""
        return _json(await run_in_threadpool(state.clips, self._board))

    async def clip(self, request: Request) -> Response:
        """A clip's file, or the requested byte range."""
        path = self._found(request)
        if not self._board.shelf.is_whole(path):
            raise HTTPException(409, "this clip is still being written; try again in a few seconds.")
        return FileResponse(path, media_type="video/mp4", filename=path.name)

    async def pictures(self, request: Request) -> Response:
        """Stream a clip's pictures, as fast as the client reads them."""
        path = self._found(request)
        if self._playing >= MOST_PLAYING:
            raise HTTPException(503, f"{MOST_PLAYING} clips are being played; close one.")
        film = await run_in_threadpool(Film, path)
        headers = {"X-Rate": f"{film.fps:.6g}", "X-Pictures": str(film.count)}
        return StreamingResponse(self._played(film), media_type="application/octet-stream", headers=headers)

    async def _played(self, film: Film) -> AsyncIterator[bytes]:
        self._playing += 1
        try:
            async for picture in iterate_in_threadpool(film.coded(coded)):
                yield picture
                if self._board.is_over:
                    return
        finally:
            self._playing -= 1

    def _found(self, request: Request) -> Path:
        path = self._board.shelf.find(request.path_params["name"])
        if path is None:
            raise HTTPException(404, "there is no such clip.")
        return path

    async def update(self, request: Request) -> Response:
        """Try a bundle of the watched folder next."""
        update = msgspec.json.decode(await _body(request), type=Update)
        found = await run_in_threadpool(self._board.updater.found)
        path = next((one.path for one in found if one.digest == update.digest), None)
        if path is None:
            raise HTTPException(404, "there is no bundle with that digest in the watched folder.")
        self._board.updater.ask(path)
        return _json({"said": f"{path.name} will be tried next."}, 202)

    async def roll_back(self, _: Request) -> Response:
        """Return to the bundle that ran before."""
        self._board.updater.roll_back()
        return _json({"said": "Rolling back."}, 202)


def _guarded(refuses: Callable[[Any], Refusal | None], handler: Handler) -> Handler:
    async def guarded(request: Request) -> Response:
        refusal = refuses(request.headers)
        if refusal is not None:
            wanted = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else {}
            return _json({"error": refusal.why}, refusal.status, headers=wanted | UNCACHED)
        answer = await handler(request)
        answer.headers.update(UNCACHED)
        return answer

    return guarded


async def _body(request: Request) -> bytes:
    found = b""
    async for piece in request.stream():
        found += piece
        if len(found) > MOST_BYTES:
            raise HTTPException(413, f"more than {MOST_BYTES} bytes.")
    return found


async def _say(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"error": error.detail}, error.status_code, headers=error.headers)


async def _say_ours(_: Request, error: Exception) -> Response:
    assert isinstance(error, StprError)
    return _json({"error": error.message}, 409)


async def _say_unreadable(_: Request, error: Exception) -> Response:
    return _json({"error": f"this can't be read: {error}."}, 400)


def _json(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers=headers, media_type="application/json")


def _policy(page: str) -> str:
    """The content security policy: only the page's own script and style, by digest; nothing from elsewhere."""
    digests = {
        tag: base64.b64encode(hashlib.sha256(found.encode()).digest()).decode()
        for tag in ("script", "style")
        for found in re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    }
    own = "; ".join(f"{tag}-src 'sha256-{digest}'" for tag, digest in digests.items())
    others = "img-src blob: data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
    return f"default-src 'none'; {own}; {others}"


UNCACHED: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
