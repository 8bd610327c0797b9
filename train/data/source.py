"""From a recipe's [data] and [stages] to videos and stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Final, TypeAlias

from stpr.runtime.contract.errors import RecipeError
from stpr.runtime.motions import CLASSES
from stpr.train.data.overlap import check_overlap
from stpr.train.data.stages import Stage, check_learnt, check_videos, explicit_stages, split_stages
from stpr.train.datasets.annotations import SPLITS, Filter, Video, read_csv, read_folder
from stpr.train.datasets.benchmarks import read_benchmark, read_lists
from stpr.train.datasets.motions import write_motions
from stpr.train.datasets.skip_list import NOTHING, SkipList, read_skip_list
from stpr.train.settings.data import CsvData, DataSettings, FolderData, MotionsData
from stpr.train.settings.recipe import StageSettings

LIST_THEM: Final = (
    "stages drawn by [stages] sizes can't be extended; list them as [stages] classes instead, the learnt ones first,"
    " as in the last stage.json."
)
Learnt: TypeAlias = Sequence[tuple[str, ...]]  # the classes of the stages that a resumed run has behind it


def read_videos(data: DataSettings, advance: Callable[[int, int], None], learnt: Learnt = ()) -> list[Video]:
    """Every train and test video, of learnt classes what is left to test; the motions set is generated if missing.

    What is on the skip list is left out. Raises DataError for a data set that is not as it must be, such as a video
    that is missing, or one that is both trained and tested on.
    """
    videos = _listed(data, advance, frozenset(chain.from_iterable(learnt)), skip_list(data))
    check_overlap(videos)
    return videos


def skip_list(data: DataSettings) -> SkipList:
    """The videos that the user leaves out. Raises DataError if the file is missing."""
    return read_skip_list(Path(data.root).expanduser() / Path(data.skip).expanduser()) if data.skip else NOTHING


def _listed(
    data: DataSettings, advance: Callable[[int, int], None], old: frozenset[str], skip: SkipList
) -> list[Video]:
    root = Path(data.root).expanduser()
    if isinstance(data, FolderData):
        return read_folder(root, learnt=old, skip=skip)
    if isinstance(data, CsvData):
        filters: dict[str, Filter] = {"train": data.train, "test": data.test}
        return read_csv(root / data.file, videos=root / data.videos, **filters, learnt=old, skip=skip)
    if not isinstance(data, MotionsData):
        return read_benchmark(data, learnt=old, skip=skip)
    total = len(CLASSES) * (data.train_per_class + data.test_per_class)
    write_motions(
        root,
        train_per_class=data.train_per_class,
        test_per_class=data.test_per_class,
        seed=data.seed,
        advance=lambda done: advance(done, total),
    )
    filters = {split: {"split": (split,)} for split in SPLITS}
    return read_csv(root / "clips.csv", videos=root / "clips", **filters, learnt=old, skip=skip)


def read_stages(settings: StageSettings, videos: Sequence[Video], learnt: Learnt, data: DataSettings) -> list[Stage]:
    """The stages of a recipe over the classes that the videos show or that are learnt; the latter need no video.

    A benchmark's `data` orders the classes by their label ids. Raises RecipeError for stages that don't fit the classes
    or change a learnt stage, DataError for want of videos.
    """
    classes, fixed = _classes(videos, learnt, data)
    if settings.fixed and not fixed:
        raise RecipeError('[stages] fixed = true needs data whose lists fix the stages (kind = "vclimb").')
    listed = fixed if settings.fixed else settings.classes
    if listed:
        check_learnt(listed, learnt)
        stages = explicit_stages(listed, classes)
    else:
        if learnt and len(classes) != sum(settings.sizes):
            raise RecipeError(
                f"the run was begun with {sum(settings.sizes)} classes, and with the data set there are now"
                f" {len(classes)}: {LIST_THEM}"
            )
        stages = split_stages(classes, settings.sizes, settings.seed or 0)
        check_learnt([stage.classes for stage in stages], learnt)
    check_videos(stages[len(learnt) :], videos)
    return stages


def _classes(
    videos: Sequence[Video], learnt: Learnt, data: DataSettings
) -> tuple[Sequence[str], Sequence[tuple[str, ...]]]:
    """The classes in the order that a draw shuffles, and the stages that a benchmark fixes."""
    if isinstance(data, MotionsData | FolderData | CsvData):
        return sorted({video.label for video in videos}.union(*learnt)), ()
    listed = read_lists(data)
    return listed.classes, listed.tasks
