"""`--serve`: health, metrics and a page, over HTTP. Read in this order: board, health, metrics, state, access, app.

    run's thread ─▶ board (what is known, bounded) ◀─ server's thread: /healthz, /readyz, /metrics, the page

The run's thread only notes what a result says. Pictures are made and answers written on the server's thread, when
somebody asks; a server that fails or is slow holds nothing up.
"""

from __future__ import annotations

from stpr.runtime.serve.board import Board
from stpr.runtime.serve.server import serving

__all__ = ["Board", "serving"]
