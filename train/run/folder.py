"""The files of a run folder: names, paths and contents. Every file that a run writes is listed in FILES.

A run folder is used by one process (or one launch of several) at a time; `reserved` locks it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from stpr.runtime.contract.durable import explain, is_leftover, locked
from stpr.runtime.contract.errors import RecipeError

RECIPE: Final = "recipe.toml"
METRICS: Final = "metrics.json"
VIDEOS: Final = "videos.csv"
SNAPSHOT: Final = "snapshot.safetensors"
TENSORS: Final = "model.safetensors"  # this and the next three are in each stage's folder
RECORD: Final = "stage.json"
PREDICTIONS: Final = "predictions.csv"
LEARNT: Final = "learnt.csv"
REPORT: Final = "report"
MISTAKES: Final = "mistakes.png"  # in the report
TENSORBOARD: Final = "tensorboard"

FILES: Final[Mapping[str, str]] = {  # path or pattern within the run folder -> content
    RECIPE: "settings",
    VIDEOS: "paths, labels and splits of the videos; of a run on a folder of videos",
    METRICS: "metrics, losses, machine and command",
    f"{REPORT}/*.png": "report",
    f"{REPORT}/{MISTAKES}": "frames of misclassified test clips",  # also in the page
    f"{REPORT}/*.md": "report",
    f"{REPORT}/*.html": "report",
    f"stage-*/{TENSORS}": "tensors",
    f"stage-*/{RECORD}": "record of the tensors",
    f"stage-*/{PREDICTIONS}": "paths of test clips, true and predicted labels, scores",
    f"stage-*/{LEARNT}": "paths, labels, sizes and SHA-256 of the training clips so far",
    f"{TENSORBOARD}/events.out.tfevents.*": "curves for TensorBoard",
    SNAPSHOT: "state of an unfinished stage; removed when the stage ends",
}
LEFTOVER: Final = "half written: its writer was killed or is still running"


def recipe_file(run: Path) -> Path:
    """The resolved recipe that a run was started with."""
    return run / RECIPE


def videos_file(run: Path) -> Path:
    """The list of the videos, if the run was started on a folder of videos."""
    return run / VIDEOS


def metrics_file(run: Path) -> Path:
    """The metrics of all stages so far."""
    return run / METRICS


def snapshot_file(run: Path) -> Path:
    """The snapshot from which a killed run continues within a stage."""
    return run / SNAPSHOT


def report_folder(run: Path) -> Path:
    """The folder of the report's pages and figures."""
    return run / REPORT


def tensorboard_folder(run: Path) -> Path:
    """The folder of TensorBoard's event files."""
    return run / TENSORBOARD


def stage_folder(run: Path, stage: int) -> Path:
    """The folder of a stage."""
    return run / f"stage-{stage}"


def begun_stages(run: Path) -> list[int]:
    """Numbers of all stages that have a folder, sorted."""
    return sorted(int(folder.name[6:]) for folder in run.glob("stage-*") if folder.name[6:].isdecimal())


def finished_stages(run: Path) -> list[int]:
    """Numbers of the stages that have a record, sorted; a stage is written atomically, but users may delete it."""
    return [stage for stage in begun_stages(run) if (stage_folder(run, stage) / RECORD).is_file()]


def named_stages(stages: Sequence[int]) -> str:
    """Format stage numbers: "stage 3", "stages 1 to 4", "stages 1, 3"."""
    if len(stages) > 1 and list(stages) == list(range(stages[0], stages[-1] + 1)):
        return f"stages {stages[0]} to {stages[-1]}"
    return f"stage{'s'[: len(stages) > 1]} {', '.join(map(str, stages))}"


def classified_files(run: Path) -> dict[Path, str]:
    """Map every file in the run folder, sorted by path, to its content; "" for a file that no run writes.

    LEFTOVER marks a temporary file or folder of an interrupted write. A run writes no links.
    """
    known = {path: what for pattern, what in FILES.items() for path in run.glob(pattern)}
    paths = sorted(path for path in run.rglob("*") if path.is_symlink() or not path.is_dir())
    return {path: "" if path.is_symlink() else known.get(path) or _leftover(path.relative_to(run)) for path in paths}


def _leftover(path: Path) -> str:
    return LEFTOVER if any(is_leftover(part) for part in (path, *path.parents)) else ""


@contextmanager
def reserved(folder: Path) -> Iterator[None]:
    """Lock the folder of a run or comparison against other processes until the block ends.

    Raises RecipeError naming the process that holds the lock. The folder need not exist; if nothing is written into it,
    folders created for the lock are removed. A killed process releases its lock.
    """
    missing = [parent for parent in folder.absolute().parents if not parent.exists()]
    with ExitStack() as held:
        held.callback(_remove_empty, missing)
        try:
            held.enter_context(locked(folder))
        except OSError as error:
            raise RecipeError(f"--out {explain(error, folder)}, or choose another folder.") from error
        yield


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove empty folders, innermost first, up to the first that is not empty."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()
