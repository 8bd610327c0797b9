"""The metrics of a run (method §7): pure functions of labels and predictions, and the file `metrics.json`.

Accuracies are fractions in 0..1. In the table `accuracy`, row i is the state after stage i + 1 and column j the test
clips of stage j + 1, so row i has i + 1 entries. An accuracy is None if the stage's test clips no longer existed; means
over stages leave it out.
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
from stpr.train.run.calibration import Calibration
from stpr.train.run.folder import METRICS, metrics_file
from stpr.train.run.open_set_metrics import UnknownFigures

SCHEMA: Final = 2  # of metrics.json; files of schema 0 have no such key
RENAMED: Final = {  # keys of older schemas
    "routed": "routing_accuracy",
    "right_expert": "oracle_accuracy",
    "false_alarms": "false_positive_rate",
    "false_alarms_at_recall": "false_positive_rate_at_recall",
    "heard": "decision_weights",
}
UNKNOWN: Final = "–"  # noqa: RUF001  (stands in tables and figures for a value that is not known)


class Metrics(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All metrics of a run after its last finished stage. Raises ValueError if they are inconsistent."""

    schema: int = SCHEMA
    method: str
    seed: int
    classes: list[str]  # in the order in which they were learnt
    stages: list[list[str]]
    accuracy: list[list[float | None]]
    seen: list[float]  # after each stage, on the available test clips of all classes seen so far
    final: float
    average_incremental: float
    backward_forgetting: float
    seconds: float
    environment: dict[str, str]  # versions, machine, and the command
    confusion: list[list[int]]  # counts after the last stage; row = true class, column = predicted class
    routing: list[list[float] | None]  # mean routing weight of a stage's clips (row) per expert; [] without experts
    curves: list[list[dict[str, float]]]  # stage -> epoch -> loss term -> mean; no epochs if learnt in closed form
    lists: dict[str, list[str]] = msgspec.field(default_factory=dict)  # list file -> SHA-256 of each version used
    notes: list[str] = msgspec.field(default_factory=list)  # caveats that must accompany the metrics
    unknown: list[UnknownFigures | None] = []  # after each stage; None without thresholds
    calibration: list[Calibration | None] = []  # after each stage; None if no clips are held out
    # After the last stage: a digest of each stage's test clips, to detect later that they changed; "" without clips.
    # Empty if not recorded.
    tested: list[str] = []
    # The learnt weight of each view of the statistics and of each stage's expert in the decision, in nats for a cosine
    # of 1.
    decision_weights: dict[str, float] = {}
    # Classes whose movement a mirror turns into that of another; None if mirror images don't count.
    one_sided: list[str] | None = None
    # After the last stage, on the available test clips; None if there is no choice between experts.
    routing_accuracy: float | None = None  # share of clips with the largest weight on the expert of their class's stage
    oracle_accuracy: float | None = None  # accuracy among all classes if only that expert were used

    def __post_init__(self) -> None:
        """Reject inconsistent metrics."""
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
        known += [share for share in (self.routing_accuracy, self.oracle_accuracy) if share is not None]
        if not all(0 <= value <= 1 for value in known):
            raise ValueError("accuracies must be fractions in 0..1")
        if any(row[-1] is None for row in self.accuracy):
            raise ValueError("`accuracy` of a stage just learnt must be known")
        if len(self.routing) not in (0, stages) or len({len(row) for row in self.routing if row is not None}) > 1:
            raise ValueError(f"`routing` must be empty or have {stages} rows of equal length")
        self._check_untested()

    def _check_untested(self) -> None:
        """Check that the tables agree on which stages were not tested after the last one."""
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
    def oracle_gap(self) -> float | None:
        """Oracle accuracy minus final accuracy: the cost of wrong routing; negative if mixing experts helps."""
        return None if self.oracle_accuracy is None else self.oracle_accuracy - self.final

    @property
    def forgetting_known(self) -> bool:
        """Whether `backward_forgetting` was measured: after stage 1 it needs test clips of an older stage."""
        return len(self.stages) == 1 or any(share is not None for share in self.accuracy[-1][:-1])


def read_metrics(run: Path) -> Metrics:
    """Read a run's metrics, of any schema so far. Raises CheckpointError if they are missing or damaged."""
    file = metrics_file(run)
    try:
        content = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
        if content.get("schema", 0) not in range(SCHEMA + 1):
            raise CheckpointError(
                f"{file} has schema {content['schema']!r}, not 0 to {SCHEMA}; update stpr to read it."
            )
        return msgspec.convert(_upgrade(content), Metrics)
    except FileNotFoundError as error:
        raise CheckpointError(f"{run} has no {METRICS}: no stage is finished there yet; name another run.") from error
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{file} can't be read ({error}); move it away, then continue with --resume:"
            " it is rebuilt from the stages' folders."
        ) from error


def write_metrics(run: Path, metrics: Metrics) -> Path:
    """Write `metrics.json` into the run folder, atomically."""
    return write_file(metrics_file(run), msgspec.json.format(msgspec.json.encode(metrics), indent=1) + b"\n")


def _upgrade(content: dict[str, Any]) -> dict[str, Any]:
    """Convert metrics of an older schema to current keys."""
    content = _rename(content)
    if isinstance(content.get("unknown"), list):
        content["unknown"] = [_rename(figures) for figures in content["unknown"]]
    return {**content, "schema": SCHEMA}


def _rename(table: Any) -> Any:
    return {RENAMED.get(key, key): value for key, value in table.items()} if isinstance(table, dict) else table


def caveats(metrics: Metrics) -> list[str]:
    """Sentences that must accompany the metrics: the run's notes, and what was not tested because videos are gone."""
    stages, notes = metrics.untested_stages, list(metrics.notes)
    if stages:
        whose = "their" if len(stages) > 1 else "its"
        numbers = ", ".join(map(str, stages))
        notes.append(
            f"{len(stages)} of {len(metrics.stages)} stages could not be tested because {whose} videos are gone:"
            f" {numbers}."
        )
    gone = set(metrics.untested_classes)
    for index, names in enumerate(metrics.stages, start=1):
        without = [name for name in names if name in gone]
        if without and index not in stages:
            notes.append(f"Stage {index} was tested without {some(without)}: no test video of theirs is left.")
    return notes


def scored_on(metrics: Metrics) -> str:
    """Describe how many classes the last accuracy covers."""
    count, untested = len(metrics.classes), len(metrics.untested_classes)
    if untested:
        return f"{count - untested} of {count} classes"
    return f"all {count} classes" if count > 1 else "the one class"


def seen_accuracy(labels: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """A_b: the share of clips `(N,)` that are classified correctly, so larger classes weigh more."""
    true, guess = _indices(labels, predicted)
    return float(np.mean(true == guess))


def accuracy_row(labels: npt.ArrayLike, predicted: npt.ArrayLike, sizes: Sequence[int]) -> list[float | None]:
    """R_b1..R_bb: accuracy on the test clips of each stage seen so far, None for a stage without any.

    `labels` and `predicted` (N,) are class indices in learning order; `sizes` are the class counts of the stages.
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
    """The mean over stages of the accuracy on all classes seen so far: "Acc" in the TCD benchmark's tables."""
    return float(np.mean(seen))


def backward_forgetting(accuracy: Sequence[Sequence[float | None]]) -> float:
    """BWF = 1/(N-1) sum over j < N of R_jj - R_Nj: accuracy right after a stage minus accuracy at the end.

    An unweighted mean over stages (vCLIMB's code weights by class counts: the same if stages are equal). Stages for
    which either is unknown are left out. 0 for one stage, or if nothing is known; negative if later stages improve
    earlier ones.
    """
    last = accuracy[-1]
    pairs = [(row[-1], end) for row, end in zip(accuracy[:-1], last[:-1], strict=True)]
    lost = [learnt - end for learnt, end in pairs if learnt is not None and end is not None]
    return float(np.mean(lost)) if lost else 0.0


def confusion(labels: npt.ArrayLike, predicted: npt.ArrayLike, count: int) -> npt.NDArray[np.int64]:
    """Confusion matrix `(count, count)` in clips: row = true class, column = predicted class."""
    true, guess = _indices(labels, predicted)
    if max(true.max(), guess.max()) >= count:
        raise ValueError(f"labels and predictions must be below {count}")
    return np.bincount(true * count + guess, minlength=count * count).reshape(count, count)


def routing_accuracy(routing: npt.NDArray[np.floating[Any]], stages: npt.ArrayLike) -> float | None:
    """The share of clips whose largest weight in `routing` `(N, E)` is on the expert of their stage `(N,)`, from 1.

    None with a single expert, and if every clip has equal weights for all experts.
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
