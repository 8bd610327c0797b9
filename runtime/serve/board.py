"""The current state of a run and its recent history, written by the run and read by the server."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from stpr.runtime.contract.preprocess import Image
from stpr.runtime.events import Start
from stpr.runtime.model import Model
from stpr.runtime.result import Result
from stpr.runtime.serve.shelf import Shelf
from stpr.runtime.session import Session
from stpr.runtime.sinks import Sinks
from stpr.runtime.sources import Source
from stpr.runtime.updates import Updater

KEPT_SECONDS: Final = 60.0  # of labels and events
MOST: Final = 512  # entries of each, a bound in case a clock jumps
WIDEST: Final = 720  # pixels of a picture on the page
QUALITY: Final = 80  # of its JPEG
# Seconds; from a tiny network on a GPU to a large one on a slow board, and beyond what counts as live.
BUCKETS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(slots=True)
class Stretch:
    """A label predicted without interruption, or an event; times in seconds since 1970, end None: still going on."""

    label: str
    stage: int
    begin: float
    end: float | None
    score: float


@dataclass(slots=True)
class Camera:
    """One source and the recent results of its session."""

    session: Session
    source: Source
    newest: Result | None = None
    seen_at: float = 0.0  # monotonic
    labels: deque[Stretch] = field(default_factory=lambda: deque(maxlen=MOST))
    events: deque[Stretch] = field(default_factory=lambda: deque(maxlen=MOST))
    counts: Counter[str] = field(default_factory=Counter)  # events by label
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    latency_sum: float = 0.0  # seconds

    @property
    def age(self) -> float | None:
        """Seconds since the newest frame was captured; for a file, since it was read. None before the first."""
        if self.newest is None:
            return None
        live = self.newest.frame.source.is_live
        return max(0.0, time.monotonic() - (self.newest.frame.captured_at if live else self.seen_at))


class Board:
    """The state of a run: one or several cameras with one model."""

    def __init__(self, cameras: dict[Session, Source], updater: Updater, clips: Path | None = None) -> None:
        """`clips` is the folder into which this run writes clips of events."""
        self.shelf = Shelf(clips)
        self.updater, self.started_at = updater, time.time()
        self.cameras = {session.origin.name: Camera(session, source) for session, source in cameras.items()}
        self.sinks: Sinks | None = None  # set later, when they are opened
        self.is_over = False  # tells waiting requests that no further picture will come
        self._lock = threading.Lock()
        self._pictures: dict[str, tuple[int, bytes]] = {}

    @property
    def model(self) -> Model:
        """The running model."""
        return next(iter(self.cameras.values())).session.model

    def see(self, session: Session, result: Result) -> None:
        """Record a result; called in the run's thread."""
        camera = self.cameras[session.origin.name]
        with self._lock:
            camera.newest, camera.seen_at = result, time.monotonic()
            if result.prediction is not None and result.prediction.state != "warming_up":
                seconds = result.prediction.latency_ms / 1000
                camera.buckets[bisect_left(BUCKETS, seconds)] += 1
                camera.latency_sum += seconds
            _note_label(camera, result)
            _note_events(camera, result)

    def lasted(self, camera: Camera) -> tuple[list[Stretch], list[Stretch]]:
        """Labels and events of the last minute, oldest first."""
        since = time.time() - KEPT_SECONDS
        with self._lock:
            return tuple(  # type: ignore[return-value]
                [one for one in kept if one.end is None or one.end >= since] for kept in (camera.labels, camera.events)
            )

    def picture(self, name: str) -> tuple[int, bytes]:
        """Index and JPEG of a camera's newest frame; encoded once for all clients. There must be a frame."""
        newest = self.cameras[name].newest
        assert newest is not None
        index, kept = newest.frame.index, self._pictures.get(name)
        if kept is None or kept[0] != index:
            kept = self._pictures[name] = index, coded(newest.frame.image)
        return kept


def coded(image: Image) -> bytes:
    """Encode an RGB picture as JPEG, no wider than the page shows it."""
    scale = min(1.0, WIDEST / image.shape[1])
    if scale < 1:
        resized = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        image = np.asarray(resized, np.uint8)
    found = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return found.tobytes()


def _note_label(camera: Camera, result: Result) -> None:
    prediction = result.prediction
    if prediction is None:
        return
    now, labels = datetime.fromisoformat(prediction.time).timestamp(), camera.labels
    last = labels[-1] if labels else None
    if last is not None and last.end is None and not result.began and last.label == prediction.label:
        last.score = max(last.score, prediction.score)
        return
    if last is not None and last.end is None:
        last.end = now
    if prediction.label is not None:
        labels.append(Stretch(prediction.label, _stage_of(camera, prediction.label), now, None, prediction.score))


def _note_events(camera: Camera, result: Result) -> None:
    for event in result.events:
        at = datetime.fromisoformat(event.time).timestamp()
        running = camera.events[-1] if camera.events and camera.events[-1].end is None else None
        if isinstance(event, Start):
            camera.counts[event.label] += 1
            camera.events.append(Stretch(event.label, event.stage, at, None, event.score))
        elif running is not None:
            running.end, running.score = at, event.peak


def _stage_of(camera: Camera, label: str) -> int:
    return next(entry.stage for entry in camera.session.model.manifest.classes if entry.name == label)
