"""What a camera should have said of untrimmed videos, and how well it did: annotations, and scores of events.

An event is right when its label is right and it starts between the action's start and `tolerance` after its end; an
action makes one event right, every other event is false (method §13.4). Pure functions: seconds and labels in, figures
out.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np

from stpr.runtime.contract.errors import DataError

COLUMNS: Final = ("file", "start", "end", "label")
TOLERANCE: Final = 2.2  # seconds after an action's end: one span of a clip and a bit


class Action(NamedTuple):
    """What really happens, in seconds of its video."""

    start: float
    end: float
    label: str


class Heard(NamedTuple):
    """An event's start as somebody hears it: about which moment it is, and when it was said."""

    start: float
    said: float
    label: str


class ClassFigures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Counts of one class."""

    actions: int
    events: int
    right: int


class EventFigures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How well events tell actions; None where there is nothing to divide by.

    `delay` runs from an action's end until its event was said: median and 90th percentile, negative when it was said
    before the action was over.
    """

    minutes: float
    actions: int
    events: int
    right: int
    precision: float | None
    recall: float | None
    f1: float | None
    false_a_minute: float
    delay: tuple[float, float] | None
    classes: dict[str, ClassFigures]


class Stream(NamedTuple):
    """One video: how long it is, what happens, what was heard."""

    seconds: float
    actions: Sequence[Action]
    events: Sequence[Heard]


def read_annotations(file: Path, *, labels: Collection[str] = ()) -> dict[str, tuple[Action, ...]]:
    """The actions of each video in the order in which they start, from a CSV with the columns file, start, end, label.

    `labels`, where given, are all there may be. Raises DataError for what can't be read or can't be meant.
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
        found.setdefault(_text(row, "file", where), []).append(_action(row, where, labels))
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


def match(actions: Sequence[Action], events: Sequence[Heard], *, tolerance: float = TOLERANCE) -> list[Action | None]:
    """For each event the action that it makes known, or None: as many as can be.

    Events in the order of their starts each take, of the actions that are theirs to take, the one that ends first.
    """
    free = sorted(actions, key=lambda action: action.end)
    taken: list[Action | None] = [None] * len(events)
    for index in sorted(range(len(events)), key=lambda index: events[index].start):
        event = events[index]
        fits = (a for a in free if a.label == event.label and a.start <= event.start <= a.end + tolerance)
        action = next(fits, None)
        if action is not None:
            taken[index] = action
            free.remove(action)
    return taken


def figures(streams: Sequence[Stream], *, tolerance: float = TOLERANCE) -> EventFigures:
    """The figures of all streams together. Raises DataError where there is no time to speak of."""
    seconds = float(sum(stream.seconds for stream in streams))
    if not seconds > 0:
        raise DataError(f"events need videos that last, got {seconds:g} s; name others.")
    actions = [action for stream in streams for action in stream.actions]
    events = [event for stream in streams for event in stream.events]
    taken = [action for stream in streams for action in match(stream.actions, stream.events, tolerance=tolerance)]
    pairs = [(event, action) for event, action in zip(events, taken, strict=True) if action is not None]
    delays = [event.said - action.end for event, action in pairs]
    return EventFigures(
        minutes=seconds / 60,
        actions=len(actions),
        events=len(events),
        right=len(pairs),
        precision=_share(len(pairs), len(events)),
        recall=_share(len(pairs), len(actions)),
        f1=_share(2 * len(pairs), len(events) + len(actions)),
        false_a_minute=60 * (len(events) - len(pairs)) / seconds,
        delay=(float(np.median(delays)), float(np.quantile(delays, 0.9))) if delays else None,
        classes={
            label: ClassFigures(
                actions=sum(action.label == label for action in actions),
                events=sum(event.label == label for event in events),
                right=sum(event.label == label for event, _ in pairs),
            )
            for label in sorted({action.label for action in actions} | {event.label for event in events})
        },
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
