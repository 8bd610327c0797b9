"""Every file of a run folder: its name, where it lies, and what it is. Whatever a run writes stands in FILES.

A run folder is used by one process (or one launch of several) at a time; `reserved` keeps all others out.
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
TENSORS: Final = "model.safetensors"  # this and the next two: in the folder of each stage
RECORD: Final = "stage.json"
PREDICTIONS: Final = "predictions.csv"
REPORT: Final = "report"
MISTAKES: Final = "mistakes.png"  # in the report
TENSORBOARD: Final = "tensorboard"

FILES: Final[Mapping[str, str]] = {  # path in the run folder, or a pattern of paths: what it is
    RECIPE: "settings",
    VIDEOS: "paths of videos, their labels, which of them are tested on; of a run on a folder of videos",
    METRICS: "figures, losses, machine and command",
    f"{REPORT}/*.png": "report",
    f"{REPORT}/{MISTAKES}": "frames of test clips that were got wrong",  # also in the page
    f"{REPORT}/*.md": "report",
    f"{REPORT}/*.html": "report",
    f"stage-*/{TENSORS}": "tensors",
    f"stage-*/{RECORD}": "record of the tensors",
    f"stage-*/{PREDICTIONS}": "paths of test clips, true and predicted labels, scores",
    f"{TENSORBOARD}/events.out.tfevents.*": "curves for TensorBoard",
    SNAPSHOT: "a stage half done; goes when the stage ends",
}
LEFTOVER: Final = "half written: its writer was killed or is at work"


def recipe_file(run: Path) -> Path:
    """The resolved recipe that a run was begun with."""
    return run / RECIPE


def videos_file(run: Path) -> Path:
    """The list of the videos, where a folder of videos stands in place of a recipe."""
    return run / VIDEOS


def metrics_file(run: Path) -> Path:
    """The figures of all stages so far."""
    return run / METRICS


def snapshot_file(run: Path) -> Path:
    """What a killed run needs to go on within a stage."""
    return run / SNAPSHOT


def report_folder(run: Path) -> Path:
    """Where the pages and pictures for people lie."""
    return run / REPORT


def tensorboard_folder(run: Path) -> Path:
    """Where TensorBoard finds its events."""
    return run / TENSORBOARD


def stage_folder(run: Path, stage: int) -> Path:
    """Where stage `stage` of a run lies."""
    return run / f"stage-{stage}"


def begun_stages(run: Path) -> list[int]:
    """Numbers of all stages that have a folder, in order."""
    return sorted(int(folder.name[6:]) for folder in run.glob("stage-*") if folder.name[6:].isdecimal())


def finished_stages(run: Path) -> list[int]:
    """Numbers of the stages that have a record, in order: a stage is written whole, but may be removed later."""
    return [stage for stage in begun_stages(run) if (stage_folder(run, stage) / RECORD).is_file()]


def named_stages(stages: Sequence[int]) -> str:
    """In words: "stage 3", "stages 1 to 4", "stages 1, 3"."""
    if len(stages) > 1 and list(stages) == list(range(stages[0], stages[-1] + 1)):
        return f"stages {stages[0]} to {stages[-1]}"
    return f"stage{'s'[: len(stages) > 1]} {', '.join(map(str, stages))}"


def explained_files(run: Path) -> dict[Path, str]:
    """Every file under the run folder, in order of path, and what it is: empty where a run writes no such file.

    LEFTOVER is a half-written file or folder whose writer was killed; a run writes no links.
    """
    known = {path: what for pattern, what in FILES.items() for path in run.glob(pattern)}
    paths = sorted(path for path in run.rglob("*") if path.is_symlink() or not path.is_dir())
    return {path: "" if path.is_symlink() else known.get(path) or _leftover(path.relative_to(run)) for path in paths}


def _leftover(path: Path) -> str:
    return LEFTOVER if any(is_leftover(part) for part in (path, *path.parents)) else ""


@contextmanager
def reserved(folder: Path) -> Iterator[None]:
    """Keep every other process out of a run folder, or the folder of a comparison, until the block ends.

    Raises RecipeError naming the process that has it. The folder need not exist, and where nothing comes to be written
    there, no folder above it is left either. A killed holder leaves it free.
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
    """Remove folders, innermost first, up to one that holds something."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()
