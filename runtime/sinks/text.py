"""Text output on a terminal, if there is no window."""

from __future__ import annotations

import io
import sys

from stpr.runtime.decision import Prediction, State
from stpr.runtime.result import Result
from stpr.runtime.settings import Settings
from stpr.runtime.sinks.raw_file import standard_output, write_whole

UNSAID: tuple[State, str | None] = ("warming_up", None)
CLEAR_LINE = "\x1b[K"


class TextLine:
    """On a terminal one line that is rewritten; elsewhere a line for each change."""

    every_frame = False

    def __init__(self, file: io.FileIO, *, rewrite: bool, encoding: str = "utf-8", several: bool = False) -> None:
        """With `several` sources each line has the name of its source."""
        self._file, self._encoding = file, encoding
        self._rewrite, self._several = rewrite and not several, several
        self._shown: dict[str, tuple[State, str | None]] = {}  # by source

    def write(self, result: Result) -> None:
        """Print a new prediction."""
        prediction = result.prediction
        if prediction is None:
            return
        name = f"{prediction.source}  " if self._several else ""
        line = f"{prediction.time[11:19]}  {name}{_words(prediction)}"
        if self._rewrite:
            self._say(f"\r{line}  {result.fps:.0f} fps  {prediction.latency_ms:.0f} ms{CLEAR_LINE}")
        elif (shown := (prediction.state, prediction.label)) != self._shown.get(prediction.source, UNSAID):
            self._say(f"{line}\n")
            self._shown[prediction.source] = shown

    def close(self) -> None:
        """End the rewritten line."""
        if self._rewrite:
            self._say("\n")

    def _say(self, words: str) -> None:
        write_whole(self._file, words.encode(self._encoding, errors="replace"))


def open_text(settings: Settings) -> TextLine | None:
    """Open text on standard output, unless there is a window, JSON goes there, or it is closed."""
    if not settings.headless or settings.json == "-" or sys.stdout is None:
        return None
    several = len(settings.sources) > 1
    return TextLine(standard_output(), rewrite=sys.stdout.isatty(), encoding=sys.stdout.encoding, several=several)


def _words(prediction: Prediction) -> str:
    if prediction.state == "unknown":
        return f"unknown, most like {prediction.top[0][0]}"
    if prediction.label is None:
        return prediction.state.replace("_", " ")
    stage = max(prediction.routing, key=prediction.routing.__getitem__)
    return f"{prediction.label} {prediction.score:.0%}  stage {stage}"
