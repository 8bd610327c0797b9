"""Run the candidate in shadow of the running model on the same windows, and compare their decisions.

If both have the same encoder, the candidate reads the running session's window. Otherwise a second session runs on the
same frames with slots at the same times; its window is full before anything is compared, so that a swap needs no
warm-up in either case.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stpr.runtime.decision import Decision, Prediction, strongest
from stpr.runtime.recognizer import step
from stpr.runtime.result import Result
from stpr.runtime.session import Session
from stpr.runtime.updates.candidate import Candidate

AWAY_SPANS: Final = 2.0  # clip lengths without a frame after which a window is empty


@dataclass(slots=True)
class Tally:
    """Counts of windows on which both models predicted old classes, and on which the candidate predicted new ones."""

    agreed: int = 0
    disagreed: int = 0
    new: int = 0
    example: str = ""  # of a disagreement

    @property
    def compared(self) -> int:
        """The number of windows on which old classes were compared."""
        return self.agreed + self.disagreed

    @property
    def seen(self) -> int:
        """The number of windows."""
        return self.compared + self.new

    def count(self, before: Decision, after: Decision, *, old: frozenset[str]) -> None:
        """Count the decisions of the running model and the candidate on one window."""
        if after.label is not None and after.label not in old:
            self.new += 1
        elif after.label == before.label:
            self.agreed += 1
        else:
            self.disagreed += 1
            self.example = f"{after.label or 'unknown'} instead of {before.label or 'unknown'}"


class Shadow:
    """A candidate in shadow of the running sessions; used in the run's thread."""

    def __init__(self, candidate: Candidate, sessions: Sequence[Session]) -> None:
        self.candidate, self.tally = candidate, Tally()
        self._beside = {session: session.beside(candidate.model, share=candidate.same_features) for session in sessions}
        self._seen_at = dict.fromkeys(sessions, time.monotonic())
        self._old = frozenset(sessions[0].model.manifest.class_names)

    def see(self, session: Session, result: Result) -> None:
        """Compare with a result of a running session. Raises EngineError if the candidate fails."""
        beside, self._seen_at[session] = self._beside[session], time.monotonic()
        other: Decision | None
        if beside.window is session.window:
            other = self._judge(beside) if _decided(result.prediction) and not self.candidate.is_return else None
        else:
            other = step([(beside, result.frame)])[0].prediction
        if result.prediction is not None and other is not None and _decided(result.prediction) and _decided(other):
            self.tally.count(result.prediction, other, old=self._old)

    def is_warm(self) -> bool:
        """Whether a swap would leave no session with an empty window.

        Cameras that have ended or are disconnected are not waited for.
        """
        return all(
            new.window.is_full() or not running.window.is_full() or self._is_away(running)
            for running, new in self._beside.items()
        )

    def swap(self) -> None:
        """Switch every session to the candidate, from the next frame on."""
        for running, new in self._beside.items():
            running.adopt(new)

    def _is_away(self, session: Session) -> bool:
        return time.monotonic() - self._seen_at[session] > AWAY_SPANS * session.model.manifest.clip.span_seconds

    def _judge(self, beside: Session) -> Decision:
        return strongest(self.candidate.model.judge(beside.clips()), beside.window.spans)


def _decided(decision: Decision | Prediction | None) -> bool:
    return decision is not None and bool(decision.top)
