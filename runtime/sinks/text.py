"""What a terminal shows when there is no window."""

from __future__ import annotations

import click

from stpr.runtime.decision import Prediction
from stpr.runtime.recognizer import Result

CLEAR_LINE = "\x1b[K"


class TextLine:
    """One line that is rewritten on a terminal; elsewhere, a line each time the label changes."""

    def __init__(self, *, rewrite: bool) -> None:
        self._rewrite = rewrite
        self._label: str | None = None

    def write(self, result: Result) -> None:
        """Say a new prediction."""
        prediction = result.prediction
        if prediction is None:
            return
        line = f"{prediction.time[11:19]}  {_words(prediction)}"
        if self._rewrite:
            click.echo(f"\r{line}  {result.fps:.0f} fps  {prediction.latency_ms:.0f} ms{CLEAR_LINE}", nl=False)
        elif prediction.label != self._label:
            click.echo(line)
        self._label = prediction.label

    def close(self) -> None:
        """Leave the line that was rewritten."""
        if self._rewrite:
            click.echo()


def _words(prediction: Prediction) -> str:
    if prediction.label is None:
        return "warming up"
    stage = max(prediction.routing, key=prediction.routing.__getitem__)
    return f"{prediction.label} {prediction.score:.0%}  stage {stage}"
