"""The result of a frame, which passes through the filters to the sinks."""

from __future__ import annotations

from dataclasses import dataclass

from stpr.runtime.decision import Prediction
from stpr.runtime.events import Event
from stpr.runtime.sources.frame import Frame


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a frame; without a new prediction between two slots of the window."""

    frame: Frame
    prediction: Prediction | None  # for this frame
    fps: float  # current frames per second of its source
    began: bool = False  # a new window begins; earlier frames no longer count
    ended: bool = False  # the source has ended; nothing follows
    events: tuple[Event, ...] = ()  # set by the filter `events`
    truth: str | None = None  # the class that the newest prediction should name, set by the filter `truth`
    latest: Prediction | None = None  # the newest of its source, set by the filter `latest`
