"""The filter that suppresses decisions on useless pictures: frozen, black, damaged, or too few. Live sources only.

    state      condition                                                          for
    frozen     no part of the picture changes                                     10 s
    black      the whole picture is dark                                          1 s
    damaged    much of it has the fill colour of decoders for missing data        0.5 s
    slow       the frame rate is too low for the bundle's clips                   8 frames

A state lasts until no such frame is left in the window. Without decisions, open events end.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections import deque
from typing import Final, TypeAlias

import msgspec
import numpy as np

from stpr.runtime.contract.manifest import Manifest
from stpr.runtime.contract.preprocess import Image
from stpr.runtime.decision import State
from stpr.runtime.result import Result
from stpr.runtime.window import GAP_PERIODS

Sample: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.int16]]

SIDE: Final = 64  # sampled points per side
CHANGED, STILL_SHARE = 4, 0.001  # minimum change of a point, and share of points that may change in a still picture
DARK, DARK_SHARE = 24, 0.995
FILLED_SHARE: Final = 0.4
LASTS: Final[dict[State, float]] = {"frozen": 10.0, "black": 1.0, "damaged": 0.5}  # seconds
INTERVALS: Final = 8  # between frames, averaged for the frame rate
LINE_SECONDS: Final = 60.0  # minimum time between two log lines about one source

log = logging.getLogger(__name__)


class Watchdog:
    """Checks each picture of one camera and replaces the state of its predictions."""

    def __init__(self, manifest: Manifest) -> None:
        self.follow(manifest)
        self._since: dict[State, float] = {}  # start of each condition
        self._reference: Sample | None = None  # the first of a series of equal pictures
        self._times: deque[float] = deque(maxlen=INTERVALS + 1)
        self._state: State | None = None
        self._logged: State | None = None  # state in the last log line
        self._until = -math.inf  # earliest end of the state
        self._connection = 0
        self._logged_at = -math.inf

    def __call__(self, result: Result) -> Result:
        """Return the result, without a decision while the picture is unusable."""
        frame = result.frame
        if not frame.source.is_live or result.ended:
            return result
        if frame.connection != self._connection:
            self._connection, self._reference, self._state = frame.connection, None, None
            self._since.clear()
            self._times.clear()
        now = frame.captured_at
        found = self._look(frame.image, now)
        if found is not None:
            self._until = now + self._span
            self._state = found
        elif now > self._until:
            self._state = None
        if found == self._state:
            self._log(result)
        if self._state is None or result.prediction is None:
            return result
        overruled = msgspec.structs.replace(
            result.prediction, label=None, score=0.0, top=(), routing={}, state=self._state, evidence=None
        )
        return dataclasses.replace(result, prediction=overruled)

    def follow(self, manifest: Manifest) -> None:
        """Later results are from another bundle."""
        self._span, self._longest_period = manifest.clip.span_seconds, GAP_PERIODS * manifest.clip.period

    def _look(self, image: Image, now: float) -> State | None:
        """The state of the newest picture, if its condition has lasted long enough."""
        self._times.append(now)
        height, width = (max(1, side // SIDE) for side in image.shape[:2])
        sample = image[::height, ::width].astype(np.int16)
        seen: dict[State, bool] = {"damaged": _is_filled(sample), "black": _is_dark(sample)}
        seen["frozen"] = self._reference is not None and _is_same(sample, self._reference)
        if not seen["frozen"]:
            self._reference = sample
        for state, there in seen.items():
            if not there:
                self._since.pop(state, None)
            elif now - self._since.setdefault(state, now) >= LASTS[state]:
                return state
        mean = (now - self._times[0]) / INTERVALS if len(self._times) > INTERVALS else 0.0
        return "slow" if mean > self._longest_period else None

    def _log(self, result: Result) -> None:
        """Log a changed state as soon as LINE_SECONDS allow; a lasting state is always logged."""
        name, now = result.frame.source.name, result.frame.captured_at
        if self._state == self._logged or now - self._logged_at < LINE_SECONDS:
            return
        was, self._logged, self._logged_at = self._logged, self._state, now
        if self._state == "slow":
            log.warning(
                "%s gives a frame every %.1f s; this bundle needs one every %.2g s, so nothing is decided.",
                name,
                (now - self._times[0]) / INTERVALS,
                self._longest_period,
            )
        elif self._state is not None:
            log.warning("the picture of %s is %s; nothing is decided until it is not.", name, self._state)
        elif was == "slow":
            log.warning("%s gives frames often enough again.", name)
        else:
            log.warning("the picture of %s is no longer %s.", name, was)


def _is_same(sample: Sample, other: Sample) -> bool:
    if sample.shape != other.shape:
        return False
    changed = (np.abs(sample - other) > CHANGED).any(axis=2)
    return bool(changed.mean() <= STILL_SHARE)


def _is_dark(sample: Sample) -> bool:
    return bool((sample <= DARK).mean() >= DARK_SHARE)


def _is_filled(sample: Sample) -> bool:
    """Whether much of the picture is the grey or green of missing blocks (YUV all 128, or all 0)."""
    red, green, blue = sample[..., 0], sample[..., 1], sample[..., 2]
    grey = (np.abs(sample - 128) <= 2).all(axis=2)
    none = (red <= 4) & (np.abs(green - 135) <= 4) & (blue <= 4)
    return bool(max(grey.mean(), none.mean()) >= FILLED_SHARE)
