"""The filter that repeats the newest prediction on every frame, for displays."""

from __future__ import annotations

import dataclasses

from stpr.runtime.decision import Prediction
from stpr.runtime.result import Result


class Latest:
    """Adds the newest prediction so far to each result."""

    def __init__(self) -> None:
        self._latest: Prediction | None = None

    def __call__(self, result: Result) -> Result:
        """Return the result with `latest`."""
        self._latest = result.prediction or self._latest
        return dataclasses.replace(result, latest=self._latest)
