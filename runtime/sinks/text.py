"""What a terminal shows when there is no window."""

from __future__ import annotations

import click

from stpr.runtime.decision import Prediction, State
from stpr.runtime.recognizer import Result

CLEAR_LINE = "\x1b[K"


class TextLine:
    """One line that is rewritten on a terminal; elsewhere, a line each time what is seen changes."""

    def __init__(self, *, rewrite: bool) -> None:
        self._rewrite = rewrite
        self._said: tuple[State, str | None] = ("warming_up", None)

    def write(self, result: Result) -> None:
        """Say a new prediction."""
        prediction = result.prediction
        if prediction is None:
            return
        line = f"{prediction.time[11:19]}  {_words(prediction)}"
        if self._rewrite:
            click.echo(f"\r{line}  {result.fps:.0f} fps  {prediction.latency_ms:.0f} ms{CLEAR_LINE}", nl=False)
        elif (said := (prediction.state, prediction.label)) != self._said:
            click.echo(line)
            self._said = said

    def close(self) -> None:
        """Leave the line that was rewritten."""
        if self._rewrite:
            click.echo()


def _words(prediction: Prediction) -> str:
    if prediction.state == "unknown":
        return f"unknown, most like {prediction.top[0][0]}"
    if prediction.label is None:
        return "warming up"
    stage = max(prediction.routing, key=prediction.routing.__getitem__)
    return f"{prediction.label} {prediction.score:.0%}  stage {stage}"
