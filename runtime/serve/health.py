"""Liveness and readiness of a run, for supervisors and load balancers."""

from __future__ import annotations

from typing import Any, Final

from stpr.runtime.serve.board import Board, Camera

READY_SECONDS: Final = 10.0  # maximum age of the newest frame of a ready camera


def health(board: Board) -> dict[str, Any]:
    """The running bundle and the age of its frames. Any answer means that the run is alive."""
    model = board.model
    parity = model.manifest.parity[model.manifest.precision]
    return {
        "status": "ok",
        "bundle": {"name": model.id.name, "stage": model.id.stage, "digest": model.id.digest},
        "engine": model.engine,
        "precision": model.manifest.precision,
        "parity": {"clips": parity.clips, "worst_logits": parity.worst_logits, "top1_agreement": parity.top1_agreement},
        "newest_frame_age_seconds": {name: _rounded(camera.age) for name, camera in board.cameras.items()},
    }


def not_ready(board: Board) -> dict[str, str]:
    """Reasons why cameras are not ready, by name; empty if all are."""
    return {name: why for name, camera in board.cameras.items() if (why := _why_blind(camera)) is not None}


def _why_blind(camera: Camera) -> str | None:
    age = camera.age
    if age is None:
        return "no frame yet"
    return f"no frame for {age:.0f} s" if age > READY_SECONDS else None


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
