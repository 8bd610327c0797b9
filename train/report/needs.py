"""Find the classes with the lowest accuracy after the last stage, and advise which of them need more clips."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from stpr.runtime.contract.errors import CheckpointError
from stpr.train.report.quantities import percent
from stpr.train.run.checkpoint import read_record
from stpr.train.run.metrics import Metrics


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """A class: `right` of `tested` test clips were recognised; trained on `learnt` clips, None if not recorded."""

    name: str
    stage: int
    right: int
    tested: int
    learnt: int | None

    @property
    def accuracy(self) -> float | None:
        """The share of its test clips that was recognised; None without test clips."""
        return self.right / self.tested if self.tested else None


def class_figures(run: Path, metrics: Metrics) -> list[ClassFigures]:
    """All classes in learning order."""
    counts = learnt_from(run, metrics)
    table = np.asarray(metrics.confusion)
    stages = [stage for stage, names in enumerate(metrics.stages, start=1) for _ in names]
    return [
        ClassFigures(name, stage, int(row[place]), int(row.sum()), counts.get(name))
        for place, (name, stage, row) in enumerate(zip(metrics.classes, stages, table, strict=True))
    ]


def learnt_from(run: Path, metrics: Metrics) -> dict[str, int]:
    """The number of training clips of each class, as far as the stages' records tell."""
    found: dict[str, int] = {}
    for stage, names in enumerate(metrics.stages, start=1):
        try:
            clips = read_record(run, stage).clips
        except CheckpointError:
            continue  # older stages may be deleted to save disk
        if len(clips) == len(names):
            found.update(zip(names, clips, strict=True))
    return found


def doubtful_labels(run: Path, metrics: Metrics) -> list[tuple[str, str, str]]:
    """Training clips with a doubtful label, by stage: class, most similar class, video."""
    found: list[tuple[str, str, str]] = []
    for stage in range(1, len(metrics.stages) + 1):
        with suppress(CheckpointError):  # older stages may be deleted to save disk
            found += [(one.label, one.like, one.path) for one in read_record(run, stage).doubtful]
    return found


def least_recognised(figures: list[ClassFigures], most: int) -> list[ClassFigures]:
    """The classes with misclassified test clips, lowest accuracy first; ties by the fewest training clips."""
    lost = [one for one in figures if one.right < one.tested]
    return sorted(lost, key=lambda one: (one.right / one.tested, one.learnt if one.learnt is not None else 0))[:most]


def advice(figures: list[ClassFigures]) -> str:
    """One sentence on which class may need more clips first, claiming no more than the counts support."""
    counts = [one.learnt for one in figures if one.learnt is not None]
    needy = least_recognised(figures, 1)
    if not needy:
        fewest = [one for one in figures if one.learnt is not None and one.learnt == min(counts)]
        few = f" {fewest[0].name} was learnt from the fewest: {min(counts)}." if len(fewest) == 1 < len(counts) else ""
        return f"Every test clip was recognised, so they don't tell which class needs more clips.{few}"
    (worst,) = needy
    verdict = f"{worst.name} is recognised least: {percent(worst.accuracy)} of {worst.tested} test clips"
    if worst.learnt is None or len(counts) < 2:
        return f"{verdict}. More clips may help it; the run did not record how many it was trained on."
    usual = median(counts)
    if worst.learnt < usual:
        return (
            f"{verdict}. It was learnt from {worst.learnt} clips, half of the classes from {usual:g} or more:"
            " add clips."
        )
    return (
        f"{verdict}. It was learnt from {worst.learnt} clips, no fewer than half of the classes, so it may lack variety"
        " (people, places, ways of doing it) or right labels rather than number."
    )
