"""What a run is judged by (method §7): pure functions on labels and tables, and the file `metrics.json`.

Accuracies are fractions in 0..1. In the table `accuracy`, row i is the state after stage i + 1 and column j the test
clips of stage j + 1, so row i has i + 1 entries: what has not been learnt yet has none. None is the accuracy of a
stage whose test clips were gone by then: it is unknown, and figures over stages are over the known ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from stpr.runtime.contract.durable import write_file
from stpr.runtime.contract.errors import CheckpointError
from stpr.train.datasets.annotations import some
from stpr.train.run.folder import METRICS, metrics_file
from stpr.train.run.open_set_metrics import UnknownFigures

UNKNOWN: Final = "–"  # noqa: RUF001  (what stands in tables and pictures for a figure that nobody knows)


class Metrics(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All figures of a run, after the last stage learnt so far. Raises ValueError if they contradict each other."""

    method: str
    seed: int
    classes: list[str]  # in the order in which they were learnt
    stages: list[list[str]]
    accuracy: list[list[float | None]]
    seen: list[float]  # after each stage, on what test clips there were of all classes seen so far
    final: float
    average_incremental: float
    backward_forgetting: float
    seconds: float
    environment: dict[str, str]  # versions, machine, and the command
    confusion: list[list[int]]  # clips after the last stage; row = true class, column = predicted class
    routing: list[list[float] | None]  # mean weight that a stage's clips (row) give to each expert; empty without
    curves: list[list[dict[str, float]]]  # stage -> epoch -> loss term -> mean; an empty stage learnt in closed form
    lists: dict[str, list[str]] = msgspec.field(default_factory=dict)  # list file -> SHA-256 of each version learnt by
    notes: list[str] = msgspec.field(default_factory=list)  # what must be said wherever the figures are shown
    unknown: list[UnknownFigures | None] = []  # after each stage; None without thresholds
    # After the last stage, on what test clips there were; None where there is no choice between experts.
    routed: float | None = None  # clips whose largest routing weight is on the expert of their class's stage
    right_expert: float | None = None  # accuracy, all classes competing, if that expert were chosen for every clip

    def __post_init__(self) -> None:
        """Refuse figures of different runs put together."""
        stages, classes = len(self.stages), len(self.classes)
        if self.classes != list(itertools.chain.from_iterable(self.stages)) or not stages:
            raise ValueError("`classes` must be the classes of `stages` in order")
        if [len(row) for row in self.accuracy] != list(range(1, stages + 1)) or len(self.seen) != stages:
            raise ValueError(
                f"`accuracy` and `seen` must have a row for each of the {stages} stages, row i of i entries"
            )
        if [len(row) for row in self.confusion] != [classes] * classes:
            raise ValueError(f"`confusion` must be {classes} x {classes}, one row and column for each class")
        known = [*self.seen, *(share for row in self.accuracy for share in row if share is not None)]
        known += [share for share in (self.routed, self.right_expert) if share is not None]
        if not all(0 <= value <= 1 for value in known):
            raise ValueError("accuracies must be fractions in 0..1")
        if any(row[-1] is None for row in self.accuracy):
            raise ValueError("`accuracy` of a stage just learnt must be known")
        if len(self.routing) not in (0, stages) or len({len(row) for row in self.routing if row is not None}) > 1:
            raise ValueError(f"`routing` must be empty or have {stages} rows of equal length")
        self._check_untested()

    def _check_untested(self) -> None:
        """What was not tested after the last stage is so in every table."""
        gone = set(self.untested_classes)
        tested = [not gone.issuperset(names) for names in self.stages]
        if tested != [share is not None for share in self.accuracy[-1]]:
            raise ValueError("`accuracy` must be null after the last stage where `confusion` has no clips")
        if self.routing and tested != [row is not None for row in self.routing]:
            raise ValueError("`routing` must be null where `accuracy` is null after the last stage")

    @property
    def untested_stages(self) -> list[int]:
        """Stages from 1 without a test clip after the last stage."""
        return [stage for stage, share in enumerate(self.accuracy[-1], start=1) if share is None]

    @property
    def untested_classes(self) -> list[str]:
        """Classes without a test clip after the last stage."""
        return [name for name, row in zip(self.classes, self.confusion, strict=True) if not any(row)]

    @property
    def routing_gap(self) -> float | None:
        """What choosing other experts than the right one costs; negative if a mixture knows more."""
        return None if self.right_expert is None else self.right_expert - self.final

    @property
    def forgetting_known(self) -> bool:
        """Whether `backward_forgetting` says anything: there is nothing to forget yet, or some of it was tested."""
        return len(self.stages) == 1 or any(share is not None for share in self.accuracy[-1][:-1])


def read_metrics(run: Path) -> Metrics:
    """The figures of a run folder. Raises CheckpointError if it has none or they are damaged."""
    file = metrics_file(run)
    try:
        return msgspec.json.decode(file.read_bytes(), type=Metrics)
    except FileNotFoundError as error:
        raise CheckpointError(f"{run} has no {METRICS}: no stage is learnt there yet; name another run.") from error
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file} can't be read ({error}); learn the run's last stage again.") from error


def write_metrics(run: Path, metrics: Metrics) -> Path:
    """Write `metrics.json` into the run folder, whole or not at all."""
    return write_file(metrics_file(run), msgspec.json.format(msgspec.json.encode(metrics), indent=1) + b"\n")


def gaps(metrics: Metrics) -> list[str]:
    """What must be said beside the figures, a sentence each: the notes, and what can't be told for want of videos."""
    stages, said = metrics.untested_stages, list(metrics.notes)
    if stages:
        whose = "their" if len(stages) > 1 else "its"
        numbers = ", ".join(map(str, stages))
        said.append(
            f"{len(stages)} of {len(metrics.stages)} stages could not be tested because {whose} videos are gone:"
            f" {numbers}."
        )
    gone = set(metrics.untested_classes)
    for index, names in enumerate(metrics.stages, start=1):
        without = [name for name in names if name in gone]
        if without and index not in stages:
            said.append(f"Stage {index} was tested without {some(without)}: no test video of theirs is left.")
    return said


def tested_on(metrics: Metrics) -> str:
    """Of how many classes the last figures tell, in words."""
    count, untested = len(metrics.classes), len(metrics.untested_classes)
    return f"{count - untested} of {count} classes" if untested else f"all {count} classes"


def seen_accuracy(labels: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """A_b: the part of all given clips (N,) that is recognised, pooled, so that a larger class counts for more."""
    true, guess = _indices(labels, predicted)
    return float(np.mean(true == guess))


def accuracy_row(labels: npt.ArrayLike, predicted: npt.ArrayLike, sizes: Sequence[int]) -> list[float | None]:
    """R_b1..R_bb: accuracy on the test clips of each stage seen so far, None for a stage without any.

    `labels` and `predicted` (N,) are places in the learning order; `sizes` are the class counts of the stages.
    """
    true, guess = _indices(labels, predicted)
    ends = np.cumsum(sizes)
    stage = np.searchsorted(ends, true, side="right")
    clips = np.bincount(stage, minlength=len(sizes))
    if len(clips) > len(sizes):
        raise ValueError(f"test clips must be of the stages of {list(sizes)} classes")
    hits = np.bincount(stage, weights=true == guess, minlength=len(sizes))
    return [float(right / count) if count else None for right, count in zip(hits, clips, strict=True)]


def average_incremental(seen: Sequence[float]) -> float:
    """The mean over stages of the accuracy on all classes seen so far: the "Acc" of the TCD benchmark's tables."""
    return float(np.mean(seen))


def backward_forgetting(accuracy: Sequence[Sequence[float | None]]) -> float:
    """BWF = 1/(N-1) sum over j < N of R_jj - R_Nj: what was known right after its stage and is lost at the end.

    A plain mean over stages, whatever their size (vCLIMB's code weighs by class counts: the same where stages are
    equal). Stages of which either is unknown are left out. 0 for one stage, or if nothing is known; negative if later
    stages help earlier ones.
    """
    last = accuracy[-1]
    pairs = [(row[-1], end) for row, end in zip(accuracy[:-1], last[:-1], strict=True)]
    lost = [learnt - end for learnt, end in pairs if learnt is not None and end is not None]
    return float(np.mean(lost)) if lost else 0.0


def confusion(labels: npt.ArrayLike, predicted: npt.ArrayLike, count: int) -> npt.NDArray[np.int64]:
    """Clips of each true class (row) by predicted class (column): `(count, count)`."""
    true, guess = _indices(labels, predicted)
    if max(true.max(), guess.max()) >= count:
        raise ValueError(f"labels and predictions must be below {count}")
    return np.bincount(true * count + guess, minlength=count * count).reshape(count, count)


def routed_right(routing: npt.NDArray[np.floating[Any]], stages: npt.ArrayLike) -> float | None:
    """The part of the clips whose largest weight of `routing` (N, E) is on the expert of their stage (N,), from 1.

    None for a single expert, and where no clip prefers any: equal weights choose nothing.
    """
    if (routing == routing[:, :1]).all():
        return None
    return float(np.mean(routing.argmax(axis=1) + 1 == np.asarray(stages)))


def _indices(labels: npt.ArrayLike, predicted: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    true, guess = np.asarray(labels), np.asarray(predicted)
    if true.shape != guess.shape or true.ndim != 1 or true.size == 0:
        raise ValueError(f"labels and predictions must be two lists of one length, got {true.shape} and {guess.shape}")
    if min(true.min(), guess.min()) < 0:
        raise ValueError("labels and predictions must not be negative")
    return true.astype(np.int64), guess.astype(np.int64)
