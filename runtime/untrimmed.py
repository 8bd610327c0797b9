"""Evaluate events on untrimmed videos: read annotations, match events to actions, compute metrics.

An event is right if its label is right and it starts between the action's start (EARLY before it, to be exact) and
`tolerance` after its end; each action matches at most one event, all other events are false (method §13.3). If an
action is missed and a false event starts in its time, the action was confused with that label. Pure functions of
seconds and labels.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from stpr.runtime.contract.errors import DataError

COLUMNS: Final = ("file", "start", "end", "label")
TOLERANCE_SPANS: Final = 1.1  # tolerance in clip lengths after an action's end, while a window still shows part of it
EARLY: Final = 0.05  # seconds before an action's start; times are rounded, and a frame lasts until the next one


class Action(NamedTuple):
    """An annotated action, in seconds of its video."""

    start: float
    end: float
    label: str


class DetectedEvent(NamedTuple):
    """A detected event: its start and end, and when it was reported."""

    start: float
    reported: float
    label: str
    end: float | None = None  # its last moment, if known
    whole: tuple[float, float] | None = None  # the window in which the whole action was seen, if known


class Scores(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Counts of actions and events, precision, recall and F1; None if undefined."""

    actions: int
    events: int
    right: int
    precision: float | None
    recall: float | None
    f1: float | None


class ClassFigures(Scores, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Scores of one class, and how often it was confused with each other label."""

    confused_with: dict[str, int]


class Delay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds from an action's end until its event was reported; negative if reported before the end."""

    median: float
    p95: float


class EventFigures(Scores, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Metrics of event detection.

    `still`: share of `still_windows` (windows without any action) classified as an action. Actions of classes not
    learnt are counted only in `not_learnt`; events during them are false. `overlap`: by how much actions and the
    windows in which they were seen whole overlap, the mean of intersection over union of the right events.
    """

    minutes: float
    false_a_minute: float
    delay: Delay | None
    overlap: float | None = None
    still: float | None
    still_windows: int
    not_learnt: int
    classes: dict[str, ClassFigures]  # learnt classes that occur or were reported, and those not learnt


class Stream(NamedTuple):
    """One video: length, actions, detected events, and windows without action."""

    seconds: float
    actions: Sequence[Action]
    events: Sequence[DetectedEvent]
    still_windows: int = 0
    still_called: int = 0  # of these, how many were classified as an action


def read_annotations(file: Path, *, labels: Collection[str] = ()) -> dict[str, tuple[Action, ...]]:
    """Read each video's actions, sorted by start, from a CSV with the columns file, start, end, label.

    A line with only a file is a video without actions. `labels`: the allowed labels, if given. Raises DataError for an
    unreadable file or invalid content.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{file} has no column {missing[0]!r}; its first line must name {', '.join(COLUMNS)}.")
            rows = [(f"{file}, line {reader.line_num}", row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} can't be read as a CSV of annotations ({error}); name another.") from error
    if not rows:
        raise DataError(f"{file} annotates no action; give it a line for each: {', '.join(COLUMNS)}.")
    found: dict[str, list[Action]] = {}
    for where, row in rows:
        actions = found.setdefault(_text(row, "file", where), [])
        if any((row[column] or "").strip() for column in COLUMNS[1:]):
            action = _action(row, where, labels)
            if action in actions:
                raise DataError(f"{where}: the same action is listed already; remove one of the two lines.")
            actions.append(action)
    return {name: tuple(sorted(actions)) for name, actions in found.items()}


def _action(row: Mapping[str, str | None], where: str, labels: Collection[str]) -> Action:
    action = Action(_seconds(row, "start", where), _seconds(row, "end", where), _text(row, "label", where))
    if action.end <= action.start:
        raise DataError(f"{where}: the action ends at {action.end:g} s, not after its start at {action.start:g} s.")
    if labels and action.label not in labels:
        raise DataError(f"{where}: no class is called {action.label!r}; there are {', '.join(labels)}.")
    return action


def _text(row: Mapping[str, str | None], column: str, where: str) -> str:
    text = (row[column] or "").strip()
    if not text:
        raise DataError(f"{where}: {column} is empty; fill it in or remove the line.")
    return text


def _seconds(row: Mapping[str, str | None], column: str, where: str) -> float:
    text = _text(row, column, where)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise DataError(f"{where}: {column} is {text!r}; write seconds from the video's start, such as 12.5.")
    return seconds


def match(actions: Sequence[Action], events: Sequence[DetectedEvent], *, tolerance: float) -> list[Action | None]:
    """The action that each event matches, or None; a maximum matching.

    Events, sorted by start, each take the one that ends first among the actions they may match.
    """
    free = sorted(actions, key=lambda action: action.end)
    taken: list[Action | None] = [None] * len(events)
    for index in sorted(range(len(events)), key=lambda index: events[index].start):
        event = events[index]
        fits = (a for a in free if a.label == event.label and _is_about(event, a, tolerance))
        action = next(fits, None)
        if action is not None:
            taken[index] = action
            free.remove(action)
    return taken


def figures(streams: Sequence[Stream], *, tolerance: float, not_learnt: Collection[str] = ()) -> EventFigures:
    """Metrics over all streams; actions with `not_learnt` labels can't be detected.

    Raises DataError if the streams have no duration.
    """
    seconds = float(sum(stream.seconds for stream in streams))
    if not seconds > 0:
        raise DataError(f"events need videos that last, got {seconds:g} s; name others.")
    taken = [match(stream.actions, stream.events, tolerance=tolerance) for stream in streams]
    actions = [action for stream in streams for action in stream.actions]
    events = [event for stream in streams for event in stream.events]
    pairs = [(event, action) for event, action in zip(events, chain(*taken), strict=True) if action is not None]
    swaps = Counter(chain(*(_confusions(*video, tolerance) for video in zip(streams, taken, strict=True))))
    learnt = sum(action.label not in not_learnt for action in actions)
    delays = [event.reported - action.end for event, action in pairs]
    overlaps = [_overlap(action, event.whole) for event, action in pairs if event.whole is not None]
    windows = sum(stream.still_windows for stream in streams)
    return EventFigures(
        **_scores(learnt, len(events), len(pairs)),
        minutes=seconds / 60,
        false_a_minute=60 * (len(events) - len(pairs)) / seconds,
        delay=Delay(median=float(np.median(delays)), p95=float(np.quantile(delays, 0.95))) if delays else None,
        overlap=float(np.mean(overlaps)) if overlaps else None,
        still=_share(sum(stream.still_called for stream in streams), windows),
        still_windows=windows,
        not_learnt=len(actions) - learnt,
        classes={
            label: ClassFigures(
                **_scores(
                    sum(action.label == label for action in actions),
                    sum(event.label == label for event in events),
                    sum(event.label == label for event, _ in pairs),
                ),
                confused_with={other: count for (meant, other), count in swaps.most_common() if meant == label},
            )
            for label in sorted({action.label for action in actions} | {event.label for event in events})
        },
    )


def _confusions(stream: Stream, taken: Sequence[Action | None], tolerance: float) -> list[tuple[str, str]]:
    """Pairs (action's label, event's label) of missed actions during which a false event started."""
    recognised = Counter(action for action in taken if action is not None)
    missed = sorted((Counter(stream.actions) - recognised).elements(), key=lambda action: action.end)
    swaps = []
    for event in sorted((e for e, action in zip(stream.events, taken, strict=True) if action is None)):
        about = next((a for a in missed if _is_about(event, a, tolerance)), None)
        if about is not None:
            missed.remove(about)
            swaps.append((about.label, event.label))
    return swaps


def _is_about(event: DetectedEvent, action: Action, tolerance: float) -> bool:
    """Whether an event starts in an action, or up to `tolerance` seconds after its end."""
    return action.start - EARLY <= event.start <= action.end + tolerance


def _overlap(action: Action, seen: tuple[float, float]) -> float:
    """Intersection over union of two intervals."""
    common = min(action.end, seen[1]) - max(action.start, seen[0])
    return max(0.0, common) / (max(action.end, seen[1]) - min(action.start, seen[0]))


def _scores(actions: int, events: int, right: int) -> dict[str, Any]:
    return {
        "actions": actions,
        "events": events,
        "right": right,
        "precision": _share(right, events),
        "recall": _share(right, actions),
        "f1": _share(2 * right, events + actions),
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
