"""The filter that tells what the newest prediction should say, for sources that know it."""

from __future__ import annotations

import dataclasses
from collections import deque

from stpr.runtime.contract.manifest import Manifest
from stpr.runtime.result import Result


class Truth:
    """Adds the true class in the middle of the newest prediction's window.

    A window shows the past: while the newest frame is already of the next action, most of it is of the last one.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._span = manifest.clip.span_seconds
        self._changes: deque[tuple[float, str | None]] = deque()  # when each class began, oldest first
        self._truth: str | None = None

    def __call__(self, result: Result) -> Result:
        """Return the result with `truth`."""
        frame, prediction = result.frame, result.prediction
        if result.began:
            self._changes.clear()
        if not self._changes or self._changes[-1][1] != frame.label:
            self._changes.append((frame.captured_at, frame.label))
        if prediction is not None:
            middle = frame.captured_at - (prediction.span or self._span) / 2
            while len(self._changes) > 1 and self._changes[1][0] <= middle:
                self._changes.popleft()
            self._truth = self._changes[0][1]
        return dataclasses.replace(result, truth=self._truth)

    def follow(self, manifest: Manifest) -> None:
        """Later predictions are from another bundle, whose clips may last longer."""
        self._span = manifest.clip.span_seconds
