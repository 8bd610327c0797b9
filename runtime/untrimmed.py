"""What a camera should have said of untrimmed videos, and how well it did: annotations, and scores of events.

An event is right when its label is right and it starts between the action's start and `tolerance` after its end; an
action makes one event right, every other event is false (method §13.3). A false event that starts so about an action
that nothing told was said in its place: the action was heard as another. Pure functions: seconds and labels in, figures
out.
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
TOLERANCE_SPANS: Final = 1.1  # of a clip after an action's end: for so long a window still shows some of it


class Action(NamedTuple):
    """What really happens, in seconds of its video."""

    start: float
    end: float
    label: str


class Heard(NamedTuple):
    """An event as somebody hears it: about which moments it is, and when it was said."""

    start: float
    said: float
    label: str
    end: float | None = None  # the last moment that spoke for it, once that is known


class Scores(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Counts of actions and events, and what follows from them; None where there is nothing to divide by."""

    actions: int
    events: int
    right: int
    precision: float | None
    recall: float | None
    f1: float | None


class ClassFigures(Scores, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One class, and how often each other label was said in place of its own."""

    heard_as: dict[str, int]


class Delay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds from an action's end until its event was said; negative when it was said before the action was over."""

    median: float
    p95: float


class EventFigures(Scores, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How well events tell actions.

    `still` is the share of `still_windows` (those in which nothing happens) that were called an action. Actions that
    nobody could tell are in `not_learnt` and in no other count; what is said during them is false.
    """

    minutes: float
    false_a_minute: float
    delay: Delay | None
    still: float | None
    still_windows: int
    not_learnt: int
    classes: dict[str, ClassFigures]  # learnt ones that were seen or said, and those not learnt


class Stream(NamedTuple):
    """One video: how long it is, what happens, what was heard, and what was said while nothing happened."""

    seconds: float
    actions: Sequence[Action]
    events: Sequence[Heard]
    still_windows: int = 0
    still_called: int = 0  # of these, how many were called an action


def read_annotations(file: Path, *, labels: Collection[str] = ()) -> dict[str, tuple[Action, ...]]:
    """The actions of each video in the order in which they start, from a CSV with the columns file, start, end, label.

    A line with a file alone is a video in which nothing happens. `labels`, where given, are all there may be. Raises
    DataError for what can't be read or can't be meant.
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
                raise DataError(f"{where}: the same action stands there already; remove one of the two lines.")
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


def match(actions: Sequence[Action], events: Sequence[Heard], *, tolerance: float) -> list[Action | None]:
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


def figures(streams: Sequence[Stream], *, tolerance: float, not_learnt: Collection[str] = ()) -> EventFigures:
    """The figures of all streams together; nobody could tell the actions of `not_learnt` labels.

    Raises DataError where there is no time to speak of.
    """
    seconds = float(sum(stream.seconds for stream in streams))
    if not seconds > 0:
        raise DataError(f"events need videos that last, got {seconds:g} s; name others.")
    taken = [match(stream.actions, stream.events, tolerance=tolerance) for stream in streams]
    actions = [action for stream in streams for action in stream.actions]
    events = [event for stream in streams for event in stream.events]
    pairs = [(event, action) for event, action in zip(events, chain(*taken), strict=True) if action is not None]
    swaps = Counter(chain(*(_heard_as(*video, tolerance) for video in zip(streams, taken, strict=True))))
    learnt = sum(action.label not in not_learnt for action in actions)
    delays = [event.said - action.end for event, action in pairs]
    windows = sum(stream.still_windows for stream in streams)
    return EventFigures(
        **_scores(learnt, len(events), len(pairs)),
        minutes=seconds / 60,
        false_a_minute=60 * (len(events) - len(pairs)) / seconds,
        delay=Delay(median=float(np.median(delays)), p95=float(np.quantile(delays, 0.95))) if delays else None,
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
                heard_as={said: count for (meant, said), count in swaps.most_common() if meant == label},
            )
            for label in sorted({action.label for action in actions} | {event.label for event in events})
        },
    )


def _heard_as(stream: Stream, taken: Sequence[Action | None], tolerance: float) -> list[tuple[str, str]]:
    """What happened and what was said in its place, for each action that nothing told and a false event is about."""
    told = Counter(action for action in taken if action is not None)
    missed = sorted((Counter(stream.actions) - told).elements(), key=lambda action: action.end)
    swaps = []
    for event in sorted((e for e, action in zip(stream.events, taken, strict=True) if action is None)):
        about = next((a for a in missed if a.start <= event.start <= a.end + tolerance), None)
        if about is not None:
            missed.remove(about)
            swaps.append((about.label, event.label))
    return swaps


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
