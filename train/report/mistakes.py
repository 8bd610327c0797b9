"""What a run gets wrong after its last stage: single test clips, and pairs of classes."""

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

MOST_PAIRS: Final = 12  # that a table lists


@dataclass(frozen=True, slots=True)
class Mistake:
    """A test clip that was taken for another class; `score` of that class in 0..1, None where nobody noted it."""

    video: Path
    label: str
    predicted: str
    score: float | None


@dataclass(frozen=True, slots=True)
class Pair:
    """`count` of the `clips` test clips of a class were taken for one other class."""

    label: str
    predicted: str
    count: int
    clips: int


def read_mistakes(run: Path, stage: int) -> list[Mistake]:
    """The test clips that were got wrong after a stage. Raises CheckpointError if their list can't be read."""
    file = stage_folder(run, stage) / PREDICTIONS
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            return [
                Mistake(Path(row["path"]), row["label"], row["predicted"], _score(row.get("score")))
                for row in csv.DictReader(lines)
                if row["label"] != row["predicted"]
            ]
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise CheckpointError(
            f"{file} can't be read ({error}); the clips that were got wrong are not shown."
        ) from error


def _score(text: str | None) -> float | None:
    """Runs of before have no scores in their lists."""
    return float(text) if text else None


def most_telling(mistakes: Sequence[Mistake], most: int) -> list[Mistake]:
    """So many mistakes: of each pair of classes the surest one, then the next; the pair most often confused first."""
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
    """Every class that was taken for another one after the last stage, the most clips first, then by class."""
    table, names = np.asarray(metrics.confusion), metrics.classes
    clips = table.sum(axis=1)
    found = [
        Pair(names[row], names[column], int(table[row, column]), int(clips[row]))
        for row, column in np.argwhere(table)
        if row != column
    ]
    return sorted(found, key=lambda pair: -pair.count)
