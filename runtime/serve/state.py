"""The data of the page: the run's state, polled several times a second, and the bundle, when it changes."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from stpr.runtime.canvas import stage_colour
from stpr.runtime.serve.board import KEPT_SECONDS, Board, Camera, Stretch
from stpr.runtime.serve.health import not_ready


def state(board: Board) -> dict[str, Any]:
    """The current state of the run; times in seconds since 1970."""
    model = board.model
    return {
        "now": time.time(),
        "started_at": board.started_at,
        "kept_seconds": KEPT_SECONDS,
        "bundle": {"name": model.id.name, "stage": model.id.stage, "digest": model.id.digest},
        "engine": model.engine,
        "blind": not_ready(board),
        "cameras": {name: _camera(board, camera) for name, camera in board.cameras.items()},
        "makes_clips": board.shelf.is_there,
        "missed": {} if board.sinks is None else board.sinks.missed,
        "update": msgspec.to_builtins(board.updater.status),
        "way_back": msgspec.to_builtins(board.updater.book.way_back),
    }


def bundle(board: Board) -> dict[str, Any]:
    """The running bundle with its certificate, and the other bundles in the watched folder."""
    model, book = board.model, board.updater.book
    manifest = model.manifest
    stages = range(1, max(manifest.stage, *(found.stage for found in board.updater.found()), 1) + 1)
    return {
        "name": model.id.name,
        "stage": model.id.stage,
        "digest": model.id.digest,
        "classes": msgspec.to_builtins(manifest.classes),
        "colours": {stage: "#{:02x}{:02x}{:02x}".format(*stage_colour(stage)) for stage in stages},
        "clip": {"frames": manifest.clip.frames, "seconds": manifest.clip.span_seconds},
        "precision": manifest.precision,
        "tells_events": model.tells_events,
        "parity": msgspec.to_builtins(manifest.parity[manifest.precision]),
        "provenance": manifest.provenance,
        "bytes": sum(entry.bytes for entry in manifest.files.values()),
        "found": [
            {
                "name": found.name,
                "stage": found.stage,
                "digest": found.digest,
                "kind": "bundle" if found.base is None else "update",
                "refused": book.refused.get(found.digest),
                "runs": found.digest == model.id.digest,
            }
            for found in board.updater.found()
        ],
    }


def clips(board: Board) -> list[dict[str, Any]]:
    """The clips of events, newest first."""
    found: list[dict[str, Any]] = msgspec.to_builtins(board.shelf.clips(board.model.manifest.class_names))
    return found


def _camera(board: Board, camera: Camera) -> dict[str, Any]:
    timing, newest = camera.session.timing, camera.newest
    labels, events = board.lasted(camera)
    latest = None if newest is None else newest.latest
    latency = timing.latency_ms()
    return {
        "live": camera.session.origin.is_live,
        "age": camera.age,
        "fps": timing.recent_fps,
        "frames": timing.frames,
        "encoded": timing.encoded,
        "predictions": timing.predictions,
        "dropped": camera.source.dropped,
        "reconnects": camera.source.reconnects,
        "unreadable": camera.source.skipped,
        "latency_ms": None if latency is None else dict(zip(("p50", "p95", "p99"), latency, strict=True)),
        "latest": None if latest is None else latest.line(),
        "truth": None if newest is None else newest.truth,
        "labels": [_stretch(one) for one in labels],
        "events": [
            _stretch(one) | {"clip": board.shelf.clip_of(one.label, camera.session.origin.name, one.begin)}
            for one in events
        ],
    }


def _stretch(one: Stretch) -> dict[str, Any]:
    return {"label": one.label, "stage": one.stage, "begin": one.begin, "end": one.end, "score": one.score}
