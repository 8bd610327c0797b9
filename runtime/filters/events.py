"""The filter that turns predictions into events: starts and ends of actions."""

from __future__ import annotations

import dataclasses
import math

import msgspec

from stpr.runtime.contract.manifest import Manifest
from stpr.runtime.decision import Prediction
from stpr.runtime.events import Event, EventDecoder, EventSettings, Moment
from stpr.runtime.result import Result


class Events:
    """Adds new events to each result; a gap, a reconnect or the source's end closes open events.

    After a gap the end is reported with the next prediction, whose time shows how long ago the last one was.
    """

    def __init__(self, manifest: Manifest, settings: EventSettings) -> None:
        self._stages = {entry.name: entry.stage for entry in manifest.classes}
        self._decoder = EventDecoder(manifest.clip.span_seconds, settings)
        self._began = False  # a new window without a prediction yet

    def __call__(self, result: Result) -> Result:
        """Return the result with `events`."""
        name = result.frame.source.name
        events = tuple(msgspec.structs.replace(event, source=name) for event in self._events(result))
        return dataclasses.replace(result, events=events)

    def follow(self, manifest: Manifest) -> None:
        """Later predictions are from another bundle; an open event continues."""
        self._stages = {entry.name: entry.stage for entry in manifest.classes}

    def _events(self, result: Result) -> list[Event]:
        prediction = result.prediction
        if result.ended:
            return self._decoder.flush()
        self._began = self._began or result.began
        if prediction is None:
            return []
        events = self._decoder.flush() if self._began or not prediction.top else []
        self._began = False
        if prediction.top:
            events += self._decoder.see(self._moment(result, prediction))
        return events

    def _moment(self, result: Result, prediction: Prediction) -> Moment:
        (label, score), *others = prediction.top
        has_evidence = prediction.evidence is not None  # even if the moment is unknown, which has lowered its evidence
        return Moment(
            at=result.frame.captured_at,
            frame=prediction.frame,
            time=prediction.time,
            media_time=result.frame.media_time,
            label=label if has_evidence else None,
            stage=self._stages[label],
            evidence=-math.inf if prediction.evidence is None else prediction.evidence,
            nearest=others[0][0] if others else None,
            span=prediction.span,
            margin=score - others[0][1] if others else None,
            routing=prediction.routing,
        )
