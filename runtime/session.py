"""The state of one camera between frames."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from stpr.runtime.contract.preprocess import Array
from stpr.runtime.decision import Decision, Prediction
from stpr.runtime.drift import Drift
from stpr.runtime.filters import Filter, Follower
from stpr.runtime.model import Model
from stpr.runtime.result import Result
from stpr.runtime.sources.frame import Frame, Origin
from stpr.runtime.timing import Timing
from stpr.runtime.trail import Trail
from stpr.runtime.window import FeatureWindow

SPANS: Final = (0.875, 1.0, 1.125, 1.25, 1.375)  # of a training clip; mainly longer ones, for slow actions


class Session:
    """Window, filters and timing of one camera. The window's features come from this model's encoder."""

    def __init__(self, model: Model, origin: Origin, filters: Sequence[Filter] = (), *, adapt: bool = False) -> None:
        """`filters` belong to this session and are applied to each result in order.

        `adapt`: compensate drift, if the bundle has the place of its classes.
        """
        self.model, self.origin = model, origin
        spans = SPANS if model.tells_events else (1.0,)
        self.window = FeatureWindow(model.manifest.clip, spans=spans)
        self.trail = Trail(model.manifest.motion) if model.manifest.motion else None
        self.adapt, place = adapt, model.bundle.place() if adapt else None
        self.drift = None if place is None else Drift(place, model.manifest.clip.frames)
        self.timing = Timing()
        self._filters = filters
        self._last: Frame | None = None
        self._connection = 0  # of the window's frames
        self._began = False

    def wants(self, frame: Frame) -> bool:
        """Whether a frame must be encoded; call it with every frame in order."""
        if frame.connection != self._connection:
            self.window.reset()
            self._connection = frame.connection
        wanted = self.window.wants(frame.captured_at, frame.stands)
        self._began = self.window.started_at == frame.captured_at
        if self.trail is not None:
            if self._began:
                self.trail.reset()
            self.trail.see(frame.image, frame.captured_at)
        return wanted

    def push(self, frame: Frame, feature: Array) -> None:
        """Add the feature `(D,)` of a wanted frame."""
        self.window.push(feature, frame.captured_at, frame.stands)
        if self.drift is not None and self.window.is_full():
            self.drift.see(self.window.as_clips()[0])

    def clips(self) -> Array:
        """The window as clips of several spans `(S, T, D)`, with drift removed if enabled. Only if full.

        Returns a copy.
        """
        clips = self.window.as_clips()
        return clips if self.drift is None else self.drift.moved_back(clips)

    def beside(self, model: Model, *, share: bool) -> Session:
        """A session of the same camera for another model, for comparison or take-over.

        `share`: both have the same encoder, so the window is shared. Else it is empty, with slots at the same times.
        """
        other = Session(model, self.origin, adapt=self.adapt)
        other._connection = self._connection
        if share and model.tells_events == self.model.tells_events:
            other.window, other.trail = self.window, self.trail
            if other.drift is not None and self.drift is not None:
                other.drift.share(self.drift)
            return other
        other.window.follow(self.window)
        if other.trail is not None and self.trail is not None and model.manifest.motion == self.model.manifest.motion:
            other.trail.follow(self.trail)
        return other

    def adopt(self, other: Session) -> None:
        """Continue from the next frame with the model and window of a session made by `beside`."""
        self.model, self.window, self.trail, self.drift = other.model, other.window, other.trail, other.drift
        for one in self._filters:
            if isinstance(one, Follower):
                one.follow(other.model.manifest)

    def conclude(self, frame: Frame, decision: Decision | None, *, begun: float) -> Result:
        """The filtered result of a frame whose processing began at `begun` (monotonic); without decision if no slot."""
        now, self._last = time.monotonic(), frame
        prediction = None if decision is None else self._predict(frame, decision, begun, now)
        self.timing.saw_frame(now)
        return self._filtered(Result(frame, prediction, self.timing.recent_fps, began=self._began))

    def end(self) -> Result | None:
        """The filters' remaining result after the last frame, such as ends of events; None if there is none."""
        if self._last is None:
            return None
        last = self._filtered(Result(self._last, None, self.timing.recent_fps, ended=True))
        return last if last.events else None

    def _filtered(self, result: Result) -> Result:
        for apply in self._filters:
            result = apply(result)
        return result

    def _predict(self, frame: Frame, decision: Decision, begun: float, now: float) -> Prediction:
        latency = 1000 * (now - (frame.captured_at if frame.source.is_live else begun))
        self.timing.encoded += 1
        if decision.state != "warming_up":
            self.timing.predicted(latency)
        return Prediction(
            **msgspec.structs.asdict(decision),
            time=datetime.now().astimezone().isoformat(timespec="milliseconds"),
            frame=frame.index,
            latency_ms=round(latency, 3),
            bundle=self.model.id,
            media_time=frame.media_time,
            source=frame.source.name,
            age_ms=round(latency, 3) if frame.source.is_live else None,
        )
