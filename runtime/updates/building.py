"""Engines that take minutes to build are built beside a run that already answers, and take over between two frames.

    --engine tensorrt, none kept ─▶ onnxruntime answers     engines built, golden clip held ─▶ they answer
                                    at once                 on a thread of its own             from the next frame on

They compute what the others do, in the same precision, so the window stays as it is. Where they can't be built or do
not hold the golden clip, the reason is said and onnxruntime goes on.
"""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack
from typing import Final, NamedTuple

from stpr.runtime.check import hold_golden
from stpr.runtime.contract.bundle import Bundle
from stpr.runtime.contract.errors import EngineError, StprError
from stpr.runtime.contract.manifest import GraphName
from stpr.runtime.engines import open_graph
from stpr.runtime.engines.engine import Engine, EngineOptions
from stpr.runtime.model import open_model

MEANWHILE: Final = "onnxruntime"
JOIN_SECONDS: Final = 1.0  # for what is being built when the run ends

log = logging.getLogger(__name__)


class _Pair(NamedTuple):
    encoder: Engine
    head: Engine


class Building:
    """A model that answers, and the engines that are to take it over."""

    def __init__(self, bundle: Bundle, engine: str, options: EngineOptions) -> None:
        """Opens the model on onnxruntime and begins to build. Raises EngineError where it does not run there."""
        self.model = open_model(bundle, MEANWHILE, options)
        self._engine, self._options = engine, options
        self._ready: _Pair | None = None
        self._closing = False
        self._lock = threading.Lock()  # of the two above
        self._thread = threading.Thread(target=self._build, name="building", daemon=True)
        self._thread.start()

    def after(self) -> None:
        """Between two frames, on the run's thread: the engines take over if they are ready."""
        if self._ready is None:
            return
        with self._lock:
            pair, self._ready = self._ready, None
        assert pair is not None
        if self.model.is_closed:  # another bundle has replaced it
            _close(pair)
            return
        self.model.run_on(*pair)
        log.info("%s: now on %s, no frame lost.", self.model.bundle.path, self.model.engine)

    def close(self) -> None:
        """End; what is still being built is given back when it is done."""
        with self._lock:
            self._closing, pair, self._ready = True, self._ready, None
        if pair is not None:
            _close(pair)
        self._thread.join(JOIN_SECONDS)

    def _build(self) -> None:
        try:
            pair = self._held()
        except Exception as error:  # noqa: BLE001  (whatever is wrong with them, onnxruntime answers)
            why = error.message if isinstance(error, StprError) else repr(error)
            if not self._closing:
                log.error("%s goes on: %s", self.model.engine, why)
            return
        with self._lock:
            if not self._closing:
                self._ready = pair
                return
        _close(pair)

    def _held(self) -> _Pair:
        """Encoder and head, which did here what they did where they were exported. Raises EngineError otherwise."""
        bundle = self.model.bundle
        with ExitStack() as opened:
            made = []
            for name in _Pair._fields:
                made.append(open_graph(self._engine, bundle, GraphName(name), self._options))
                opened.callback(made[-1].close)
            pair = _Pair(*made)
            for line in hold_golden(bundle, pair.encoder, pair.head):
                if not line.holds:
                    raise EngineError(
                        f"{bundle.path} does not do on {pair.encoder.name} what it was exported to do ({line.what}:"
                        f" {line.found}); export the stage again, or use --engine {MEANWHILE}."
                    )
            opened.pop_all()
        return pair


def _close(pair: _Pair) -> None:
    for engine in pair:
        engine.close()
