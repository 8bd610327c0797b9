"""`--serve`: health, metrics and a live page over HTTP. Read in this order: board, health, metrics, state, access, app.

    run's thread ─▶ board (bounded state) ◀─ server's thread: /healthz, /readyz, /metrics, the page

The run's thread only records results. Pictures are encoded and answers written in the server's thread, on request; a
server that fails or is slow does not delay recognition.
"""

from __future__ import annotations

from stpr.runtime.serve.board import Board
from stpr.runtime.serve.server import serving

__all__ = ["Board", "serving"]
