"""A bundle watches one video: what was heard and when, and how fast that went."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Final, NamedTuple

from stpr.runtime.bench.videos import Video
from stpr.runtime.events import End, EventSettings, Start
from stpr.runtime.filters.events import Events
from stpr.runtime.model import Model
from stpr.runtime.recognizer import run
from stpr.runtime.result import Result
from stpr.runtime.session import SPANS, Session
from stpr.runtime.sources.files import open_recorded
from stpr.runtime.timing import Timing
from stpr.runtime.untrimmed import Action, Heard, Stream

LONGEST: Final = max(SPANS)  # of what a window looks at


class Watched(NamedTuple):
    """What was heard of a video, its frames' counts, and the latency of each prediction in milliseconds."""

    stream: Stream
    timing: Timing
    latencies: list[float]


def watch(model: Model, video: Video, events: EventSettings, saw: Callable[[float], None]) -> Watched:
    """Let the model watch a video as fast as it can; `saw` is told the seconds of video seen so far."""
    with closing(open_recorded(video.path)) as source:
        session = Session(model, source.origin, [Events(model.manifest, events)])
        notes = _Notes(video.actions, model.manifest.clip.span_seconds)
        for result in run(session, source):
            notes.take(result)
            saw(result.frame.captured_at)
    stream = Stream(notes.seconds, video.actions, list(notes.heard.values()), notes.still_windows, notes.still_called)
    return Watched(stream, session.timing, notes.latencies)


@dataclasses.dataclass(slots=True)
class _Notes:
    """What is remembered of a video's results."""

    actions: Sequence[Action]
    span: float
    seconds: float = 0.0
    still_windows: int = 0
    still_called: int = 0
    heard: dict[int, Heard] = dataclasses.field(default_factory=dict)  # by the event's number
    latencies: list[float] = dataclasses.field(default_factory=list)

    def take(self, result: Result) -> None:
        self.seconds = result.frame.captured_at
        for event in result.events:
            about = self.seconds if event.media_time is None else event.media_time
            if isinstance(event, Start):
                self.heard[event.id] = Heard(about, self.seconds, event.label)
            elif isinstance(event, End):
                self.heard[event.id] = self.heard[event.id]._replace(end=about)
        if result.prediction is not None and result.prediction.state != "warming_up":
            self.latencies.append(result.prediction.latency_ms)
        if result.prediction is not None and self._is_still():
            self.still_windows += 1
            self.still_called += result.prediction.label is not None

    def _is_still(self) -> bool:
        """Whether nothing happens in anything that the window looks at now."""
        begin = self.seconds - LONGEST * self.span
        return all(action.end < begin or action.start > self.seconds for action in self.actions)
