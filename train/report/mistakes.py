"""The misclassified test clips of a run after its last stage, and the pairs of classes that are confused."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Final

import numpy as np

from stpr.runtime.contract.errors import CheckpointError
from stpr.train.run.folder import PREDICTIONS, stage_folder
from stpr.train.run.metrics import Metrics

MOST_PAIRS: Final = 12  # pairs that the table lists


@dataclass(frozen=True, slots=True)
class Mistake:
    """A misclassified test clip; `score` of the predicted class in 0..1, None if it was not recorded."""

    video: Path
    label: str
    predicted: str
    score: float | None


@dataclass(frozen=True, slots=True)
class Pair:
    """`count` of the `clips` test clips of class `label` were classified as `predicted`."""

    label: str
    predicted: str
    count: int
    clips: int


def read_mistakes(run: Path, stage: int) -> list[Mistake]:
    """Read the misclassified test clips after a stage. Raises CheckpointError if the predictions can't be read."""
    file = stage_folder(run, stage) / PREDICTIONS
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            return [
                Mistake(Path(row["path"]), row["label"], row["predicted"], _score(row.get("score")))
                for row in csv.DictReader(lines)
                if row["label"] != row["predicted"]
            ]
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise CheckpointError(f"{file} can't be read ({error}); misclassified clips are not shown.") from error


def _score(text: str | None) -> float | None:
    """Parse a score; older runs recorded none."""
    return float(text) if text else None


def most_telling(mistakes: Sequence[Mistake], most: int) -> list[Mistake]:
    """Select `most` mistakes: round by round the most confident one of each pair of classes, frequent pairs first."""
    groups: defaultdict[tuple[str, str], list[Mistake]] = defaultdict(list)
    for mistake in sorted(mistakes, key=lambda mistake: -_sure(mistake)):
        groups[mistake.label, mistake.predicted].append(mistake)
    pairs = sorted(groups.values(), key=lambda group: -len(group))
    taken = [mistake for mistake in chain.from_iterable(zip_longest(*pairs)) if mistake is not None][:most]
    order = {id(mistake): place for place, mistake in enumerate(chain.from_iterable(pairs))}
    return sorted(taken, key=lambda mistake: order[id(mistake)])


def _sure(mistake: Mistake) -> float:
    return -math.inf if mistake.score is None else mistake.score


def confused_pairs(metrics: Metrics) -> list[Pair]:
    """All pairs of confused classes after the last stage, sorted by number of clips, then by class."""
    table, names = np.asarray(metrics.confusion), metrics.classes
    clips = table.sum(axis=1)
    found = [
        Pair(names[row], names[column], int(table[row, column]), int(clips[row]))
        for row, column in np.argwhere(table)
        if row != column
    ]
    return sorted(found, key=lambda pair: -pair.count)
