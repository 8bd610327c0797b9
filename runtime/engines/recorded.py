"""Replays outputs that were stored: runs of a recognizer without ONNX."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stpr.runtime.contract.errors import EngineError
from stpr.runtime.contract.preprocess import Array


class RecordedEngine:
    """Gives the stored outputs one after the other, whatever it is fed."""

    def __init__(self, outputs: Iterable[Mapping[str, Array]]) -> None:
        """`outputs` may be endless (itertools.repeat)."""
        self._outputs = iter(outputs)

    @property
    def name(self) -> str:
        """What really runs the graph: nothing."""
        return "recorded"

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:  # noqa: ARG002  (the seam's signature)
        """The next stored outputs; raises EngineError when there are no more."""
        try:
            return dict(next(self._outputs))
        except StopIteration:
            raise EngineError("the recorded engine has no outputs left; record more, or stop earlier.") from None

    def close(self) -> None:
        """Nothing to give back."""
