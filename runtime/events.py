"""Detect events: turn the predictions of a stream into starts and ends of actions.

A moment has the evidence that the last window shows one whole action (log odds). Evidence rises while the window slides
over an action and falls again, so an action is a peak:

    evidence            *                     threshold: minimum evidence of an event's peak
                     *     *
        --------- * --------- * ------------- fade: below, the label has ended
              *                  *  *  *
          start  peak ── wait ──▶ report      an end is reported after the label has been absent for `linger`

Of peaks closer together than `apart` spans only the highest counts, since whole actions don't overlap in time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import msgspec

from stpr.runtime.contract.errors import ContractError

SAME: Final = 0.5  # nats below the highest evidence up to which a window shows the whole action as well
SLIDE: Final = 0.2  # of a span: by how much a window may slide off an action and still be such


class EventSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The thresholds of events, and the delays of their reports. Evidence in nats, times in seconds."""

    threshold: float = -0.5
    fade: float = -2.0
    wait: float = 0.75  # for a higher peak, before a start is reported
    linger: float = 0.5  # for the label to return, before an end is reported
    apart: float = 0.875  # minimum distance of two peaks, in spans

    def __post_init__(self) -> None:
        """Reject inconsistent values."""
        if not self.fade <= self.threshold:
            raise ContractError(
                f"events fade at {self.fade:g} and start at {self.threshold:g}; fade must not be higher."
            )
        if not min(self.wait, self.linger, self.apart) >= 0:
            raise ContractError(
                f"wait, linger and apart must be 0 or more, got {self.wait:g}, {self.linger:g} and {self.apart:g}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The prediction for the window that ends at a frame. Without a label, there is no action."""

    at: float  # seconds, never decreasing
    frame: int
    time: str  # ISO 8601 with the zone
    media_time: float | None = None
    label: str | None = None
    stage: int = 0
    evidence: float = -math.inf
    span: float | None = None  # seconds of the window
    nearest: str | None = None  # the second most likely class
    margin: float | None = None  # score of the label minus that of the second
    routing: dict[str, float] | None = None


class Start(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="start", omit_defaults=True):
    """An action was recognised; `frame` and times are those of the first moment that supports it.

    The whole action was seen in the `span` seconds up to `peak_time`.
    """

    id: int
    label: str
    stage: int
    score: float  # evidence as a probability: 1 / (1 + e^-evidence)
    frame: int
    time: str
    media_time: float | None = None
    nearest: str | None = None
    margin: float | None = None
    routing: dict[str, float] | None = None
    span: float | None = None
    peak_frame: int
    peak_time: str
    peak_media_time: float | None = None
    source: str = ""  # name of the camera, set by the session


class End(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="end", omit_defaults=True):
    """The action has ended; `frame` and times are those of the last moment that supports it.

    The whole action was seen best in the `span` seconds up to `peak_time`, by all moments until now.
    """

    id: int
    label: str
    stage: int
    score: float
    frame: int
    time: str
    start_frame: int
    start_time: str
    peak: float  # the highest score
    peak_frame: int
    peak_time: str
    peak_media_time: float | None = None
    span: float | None = None
    media_time: float | None = None
    start_media_time: float | None = None
    source: str = ""


Event: TypeAlias = Start | End


@dataclass(slots=True)
class _Whole:
    """The windows that show a whole action: the highest, and those about as high, which slide over a longer one."""

    slide: float  # SLIDE in seconds
    first: Moment
    newest: list[Moment]  # of the last SLIDE, oldest first, and one before

    def see(self, moment: Moment, highest: float) -> None:
        """Add a moment of the action, whose highest evidence until now is `highest`."""
        least = highest - SAME
        if moment.evidence < least:
            return
        self.newest.append(moment)
        if self.first.evidence < least:
            self.newest = [one for one in self.newest if one.evidence >= least]
            self.first = self.newest[0]
        while len(self.newest) > 1 and self.newest[1].at <= moment.at - self.slide:
            del self.newest[0]

    def found(self) -> tuple[Moment, float | None]:
        """The moment up to which the whole action was seen, and the seconds before it that show it."""
        lasted = self.newest[-1].at - self.first.at
        late = min(lasted / 2, self.slide)  # by how much the newest window has slid off the action
        *_, end = (one for one in self.newest if one.at <= self.newest[-1].at - late)
        if lasted <= 2 * self.slide or self.first.span is None:
            return end, end.span
        return end, round(end.at - (self.first.at - self.first.span) - self.slide, 6)


@dataclass(slots=True)
class _Run:
    """A run of moments with one label: first, highest and last, and where the whole action was."""

    first: Moment
    peak: Moment
    last: Moment
    whole: _Whole
    id: int = 0


class EventDecoder:
    """Consumes moments and returns events as soon as they are due. Memory: two runs of a few moments."""

    def __init__(self, span: float, settings: EventSettings) -> None:
        """`span`: the length of a clip in seconds."""
        self._settings = settings
        self._span = span
        self._open: _Run | None = None
        self._next: _Run | None = None
        self._peak_at = -math.inf
        self._count = 0

    def see(self, moment: Moment) -> list[Event]:
        """Add a moment; returns new events in order of time."""
        events: list[Event] = []
        for run in (self._open, self._next):
            if run is not None and self._supports(moment, run):
                _extend(run, moment)
        if self._open is not None:
            self._peak_at = self._open.peak.at
            if moment.at - self._open.last.at > self._settings.linger:
                events += self._end()
        self._consider(moment)
        if self._next is not None and self._is_due(self._next, moment.at):
            events += self._start()
        return events

    def flush(self) -> list[Event]:
        """End open events, at the end of the stream or at a gap."""
        events = self._start() if self._next is not None else []
        events += self._end()
        self._peak_at = -math.inf
        return events

    def _supports(self, moment: Moment, run: _Run) -> bool:
        """Whether the moment continues the run; short interruptions are allowed."""
        alike = moment.label == run.peak.label and moment.evidence >= self._settings.fade
        return alike and moment.at - run.last.at <= self._settings.linger

    def _consider(self, moment: Moment) -> None:
        """Make the moment the peak of the next event, if it qualifies and exceeds the current candidate."""
        if moment.label is None or moment.evidence < self._settings.threshold:
            return
        if self._open is not None and self._open.peak.label == moment.label:
            return
        if moment.at - self._peak_at < self._settings.apart * self._span:
            return
        if self._next is None or moment.evidence > self._next.peak.evidence:
            self._next = _Run(moment, moment, moment, _Whole(SLIDE * self._span, moment, [moment]))

    def _is_due(self, run: _Run, now: float) -> bool:
        """Whether the run's peak has passed, or the run has lasted longer than a span."""
        return now - run.peak.at >= self._settings.wait or now - run.first.at >= self._span

    def _start(self) -> list[Event]:
        events = self._end()
        run, self._next = self._next, None
        assert run is not None
        self._count += 1
        self._open = replace(run, id=self._count)
        self._peak_at = run.peak.at
        return [*events, _start_of(self._open)]

    def _end(self) -> list[Event]:
        run, self._open = self._open, None
        return [] if run is None else [_end_of(run)]


def _extend(run: _Run, moment: Moment) -> None:
    run.last = moment
    if moment.evidence > run.peak.evidence:
        run.peak = moment
    run.whole.see(moment, run.peak.evidence)


def _start_of(run: _Run) -> Start:
    first, peak = run.first, run.peak
    end, span = run.whole.found()
    assert peak.label is not None
    return Start(
        id=run.id,
        label=peak.label,
        stage=peak.stage,
        score=share(peak.evidence),
        frame=first.frame,
        time=first.time,
        media_time=first.media_time,
        nearest=peak.nearest,
        margin=None if peak.margin is None else round(peak.margin, 6),
        routing=peak.routing,
        span=span,
        peak_frame=end.frame,
        peak_time=end.time,
        peak_media_time=end.media_time,
    )


def _end_of(run: _Run) -> End:
    first, peak, last = run.first, run.peak, run.last
    end, span = run.whole.found()
    assert peak.label is not None
    return End(
        id=run.id,
        label=peak.label,
        stage=peak.stage,
        score=share(last.evidence),
        frame=last.frame,
        time=last.time,
        media_time=last.media_time,
        start_frame=first.frame,
        start_time=first.time,
        start_media_time=first.media_time,
        peak=share(peak.evidence),
        peak_frame=end.frame,
        peak_time=end.time,
        peak_media_time=end.media_time,
        span=span,
    )


def share(evidence: float) -> float:
    """Log odds as a probability."""
    return round(0.5 * (1 + math.tanh(evidence / 2)), 6)
