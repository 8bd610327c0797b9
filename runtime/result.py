"""What goes from recognition through the filters to the sinks."""

from __future__ import annotations

from dataclasses import dataclass

from stpr.runtime.decision import Prediction
from stpr.runtime.events import Event
from stpr.runtime.sources.frame import Frame


@dataclass(frozen=True, slots=True)
class Result:
    """What is known after a frame. Between two slots of the window there is no new prediction."""

    frame: Frame
    prediction: Prediction | None  # of this frame
    fps: float  # frames a second of its source just now
    began: bool = False  # a new window begins: nothing before this frame counts any more
    ended: bool = False  # the source gave its last frame: nothing follows
    events: tuple[Event, ...] = ()  # what the filter `events` knows now
    latest: Prediction | None = None  # the newest of its source so far, as the filter `latest` found it
