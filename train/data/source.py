"""Read the videos and stages that a recipe's [data] and [stages] describe; for all kinds of data sets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Final, TypeAlias

from stpr.runtime.contract.errors import DataError, RecipeError
from stpr.runtime.contract.names import in_order
from stpr.train.data.overlap import check_overlap
from stpr.train.data.stages import Stage, check_learnt, check_videos, explicit_stages, split_stages
from stpr.train.datasets.annotations import Video, alike, check_label, check_name, some
from stpr.train.datasets.dataset import Dataset, Listed
from stpr.train.datasets.skip_list import NOTHING, SkipList, read_skip_list
from stpr.train.settings.recipe import StageSettings

LIST_THEM: Final = (
    "stages drawn by [stages] sizes can't be extended; list them as [stages] classes instead, the learnt ones first,"
    " as in the last stage.json."
)
Learnt: TypeAlias = Sequence[tuple[str, ...]]  # the classes of the stages that a resumed run has learnt


def skip_list(data: Dataset) -> SkipList:
    """Read the data set's skip list, if any. Raises DataError if the file is missing."""
    return read_skip_list(data.path(data.skip)) if data.skip else NOTHING


def read_lists(data: Dataset, learnt: Learnt = (), skip: SkipList = NOTHING) -> Listed:
    """Read the lists: all videos but skipped ones, by path (clip2 before clip10), whether or not the files exist.

    Of learnt classes only existing test videos are included. Raises DataError for lists that can't be read or name a
    video twice, a name that is not UTF-8, a class without videos, and an unknown entry of the skip list.
    """
    listed, old = data.listed(), frozenset(chain.from_iterable(learnt))
    for label, fault in listed.faults.items():
        if label not in old:
            raise DataError(fault)
    videos = sorted(listed.videos, key=lambda video: in_order(video.path))
    _check_names(videos, data)
    skipped = skip.among([video.path for video in videos], listed.folder, learnt=old)
    videos = [video for video in videos if video.path not in skipped]
    gone = frozenset(missing([video for video in videos if video.label in old]))
    there = [video for video in videos if video not in gone]
    behind = [video for video in there if video.label in old and video.split == "train"]
    learnt_from = frozenset(behind)
    return replace(listed, videos=[video for video in there if video not in learnt_from], behind=behind)


def read_videos(data: Dataset, advance: Callable[[int, int], None], learnt: Learnt = ()) -> Listed:
    """Read the lists without skipped videos, generate the motions set if needed, and check the data set.

    Raises DataError for an invalid data set, such as a missing video, or one that is both trained and tested on.
    """
    skip = skip_list(data)
    data.prepare(advance)
    listed = read_lists(data, learnt, skip)
    _check_there(listed, data)
    notes = check_overlap([*listed.videos, *listed.behind])  # training clips of learnt classes must not be tested on
    if pairs := alike([*(video.label for video in listed.videos), *chain.from_iterable(learnt)]):
        notes.append(f"classes of their own, though they differ only in case or spaces: {', '.join(pairs)}")
    return replace(listed, notes=notes)


def missing(videos: Sequence[Video]) -> list[Video]:
    """The videos whose files don't exist."""
    there = _files_in({video.path.parent for video in videos})
    return [video for video in videos if video.path not in there]


def _files_in(folders: Iterable[Path]) -> set[Path]:
    """List the files in folders, with one listing per folder since there may be hundreds of thousands of videos."""
    there: set[Path] = set()
    for folder in folders:
        try:
            there.update(folder / entry.name for entry in os.scandir(folder) if entry.is_file())
        except (FileNotFoundError, NotADirectoryError):
            continue  # so its videos are missing
        except OSError as error:
            raise DataError(f"the folder {folder} can't be listed ({error.strerror}); fix that first.") from error
    return there


def _check_names(videos: Sequence[Video], data: Dataset) -> None:
    """Raise DataError for a video that is listed twice, and for a name that can't be stored, decoded or printed."""
    for video in videos:
        check_name(video.path)
    for label in {video.label for video in videos}:
        check_label(label)
    for video, following in pairwise(videos):
        if video.path == following.path:
            twice = "more than once" if video.split == following.split else "for both training and testing"
            raise DataError(f"the lists of {data.root} name {video.path} {twice}; get the lists from their authors.")


def _check_there(listed: Listed, data: Dataset) -> None:
    gone = missing(listed.videos)
    if gone:
        lists = f"the lists of {data.root}" if len(listed.files) > 1 else next(iter(listed.files), data.root)
        names = some([os.path.relpath(video.path, listed.folder) for video in gone])
        raise DataError(
            f"{len(gone)} of the {len(listed.videos)} videos named in {lists} are missing in {listed.folder}: {names};"
            f" put them there, correct [data] videos, or put them on the skip list ([data] skip) and report that with"
            f" your results."
        )


def read_stages(settings: StageSettings, listed: Listed, learnt: Learnt) -> list[Stage]:
    """Divide the classes of the videos, and those already learnt, into the recipe's stages.

    Drawn stages shuffle the classes in the order of label ids if the lists have ids, else of names. Raises RecipeError
    for stages that don't fit the classes or change a learnt stage, DataError for a new class without videos.
    """
    classes = listed.classes or sorted({video.label for video in listed.videos}.union(*learnt))
    if settings.fixed and not listed.stages:
        raise RecipeError('[stages] fixed = true needs data whose lists fix the stages (such as kind = "vclimb").')
    explicit = listed.stages if settings.fixed else settings.classes
    if explicit:
        check_learnt(explicit, learnt)
        stages = explicit_stages(explicit, classes)
    else:
        if learnt and len(classes) != sum(settings.sizes):
            raise RecipeError(
                f"the run was started with {sum(settings.sizes)} classes, but with this data set there are"
                f" {len(classes)}: {LIST_THEM}"
            )
        stages = split_stages(classes, settings.sizes, settings.seed or 0)
        check_learnt([stage.classes for stage in stages], learnt)
    check_videos(stages[len(learnt) :], listed.videos)
    return stages
