"""Run a bundle on one video, as one camera or several: record events and their times, and latencies."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Final, NamedTuple

from stpr.runtime.bench.parts import Parts
from stpr.runtime.bench.videos import Video
from stpr.runtime.events import End, Event, EventSettings, Start
from stpr.runtime.filters.events import Events
from stpr.runtime.model import Model
from stpr.runtime.recognizer import run_all
from stpr.runtime.result import Result
from stpr.runtime.session import SPANS, Session
from stpr.runtime.sources.files import open_recorded
from stpr.runtime.sources.frame import Frame, Source
from stpr.runtime.timing import Timing
from stpr.runtime.untrimmed import Action, DetectedEvent, Stream

LONGEST: Final = max(SPANS)  # longest span of a window, as a factor of a clip's


class Watched(NamedTuple):
    """Results on a video: events, frame counts, and the latency of each prediction in milliseconds.

    `also`: the first camera's events with each of the other event settings.
    """

    stream: Stream
    timing: Timing
    latencies: list[float]
    also: Sequence[Stream] = ()


class Watcher:
    """Runs a model on videos as fast as it can, each as `cameras` synchronous cameras.

    The first of `events` are the settings of the run; for the others the same predictions are evaluated again.
    """

    def __init__(self, model: Model, parts: Parts, events: Sequence[EventSettings], cameras: int = 1) -> None:
        self._model, self._parts, self._cameras = model, parts, cameras
        self._events, *self._others = events

    def watch(self, video: Video, saw: Callable[[float], None]) -> list[Watched]:
        """Run on a video; returns one result per camera. Calls `saw` with the seconds of video seen so far."""
        with ExitStack() as opened:
            sources = [opened.enter_context(closing(open_recorded(video.path))) for _ in range(self._cameras)]
            model, spans = self._model, self._model.manifest.clip.span_seconds
            sessions = [Session(model, source.origin, [Events(model.manifest, self._events)]) for source in sources]
            notes = {session: _Notes(video.actions, spans) for session in sessions}
            again = [(Events(model.manifest, other), _Notes(video.actions, spans)) for other in self._others]
            last: Result | None = None
            for results in run_all(sessions, self._rounds(sources)):
                if any(result.prediction is not None for _, result in results):
                    self._parts.end()
                for session, result in results:
                    notes[session].take(result)
                    saw(result.frame.captured_at)
                    if again and session is sessions[0]:
                        last = result
                        _observe(again, dataclasses.replace(result, events=()))
            if last is not None:  # flush events that were still open
                _observe(again, dataclasses.replace(last, prediction=None, events=(), ended=True))
        others = [own.stream() for _, own in again]
        return [Watched(note.stream(), session.timing, note.latencies, others) for session, note in notes.items()]

    def _rounds(self, sources: Sequence[Source]) -> Iterator[dict[int, Frame | None]]:
        for frames in zip(*(self._parts.decoded(source) for source in sources), strict=True):
            self._parts.begin()
            yield dict(enumerate(frames))
        yield dict.fromkeys(range(len(sources)))


def _observe(again: Sequence[tuple[Events, _Notes]], result: Result) -> None:
    for trial, own in again:
        own.take(trial(result))


@dataclasses.dataclass(slots=True)
class _Notes:
    """What is recorded of a video's results."""

    actions: Sequence[Action]
    span: float
    seconds: float = 0.0
    still_windows: int = 0
    still_called: int = 0
    detected: dict[int, DetectedEvent] = dataclasses.field(default_factory=dict)  # by the event's number
    latencies: list[float] = dataclasses.field(default_factory=list)

    def take(self, result: Result) -> None:
        self.seconds = result.frame.captured_at
        for event in result.events:
            about = self.seconds if event.media_time is None else event.media_time
            if isinstance(event, Start):
                self.detected[event.id] = DetectedEvent(about, self.seconds, event.label, whole=_whole(event))
            elif isinstance(event, End):
                self.detected[event.id] = self.detected[event.id]._replace(end=about, whole=_whole(event))
        if result.prediction is not None and result.prediction.state != "warming_up":
            self.latencies.append(result.prediction.latency_ms)
        if result.prediction is not None and self._is_still():
            self.still_windows += 1
            self.still_called += result.prediction.label is not None

    def stream(self) -> Stream:
        return Stream(self.seconds, self.actions, [*self.detected.values()], self.still_windows, self.still_called)

    def _is_still(self) -> bool:
        """Whether no action overlaps the current window."""
        begin = self.seconds - LONGEST * self.span
        return all(action.end < begin or action.start > self.seconds for action in self.actions)


def _whole(event: Event) -> tuple[float, float] | None:
    """The seconds of the video in which the whole action was seen; None for a source without positions."""
    if event.peak_media_time is None or event.span is None:
        return None
    return max(0.0, event.peak_media_time - event.span), event.peak_media_time
