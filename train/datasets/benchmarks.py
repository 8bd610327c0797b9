"""The paper's benchmarks: the authors' list files beside a folder of videos. Nothing here opens a video.

The lists belong to their authors and don't come with stpr; each error says which file is expected where.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from stpr.runtime.contract.errors import DataError
from stpr.train.datasets.annotations import Video, some
from stpr.train.datasets.benchmark_lists import (
    Listed,
    read_hmdb51,
    read_kinetics400,
    read_ssv2,
    read_ucf101,
    read_vclimb,
)
from stpr.train.datasets.skip_list import NOTHING, SkipList
from stpr.train.settings.data import BenchmarkData, Hmdb51Data, Kinetics400Data, Ssv2Data, Ucf101Data, VclimbData

CAUTIONS: Final[Mapping[type, str]] = {
    VclimbData: "vCLIMB parted UCF101's videos at random, so training and test share groups (the same people and"
    " scenes): these figures are inflated and can't be compared with those on the official splits.",
}
DRAWN_CAUTIONS: Final[Mapping[type, str]] = {
    Kinetics400Data: "the stages are drawn by a seed because vCLIMB's own task lists of Kinetics-400 were not at hand:"
    " these figures are near its tables, not comparable with them.",
    Hmdb51Data: "HMDB51's class order follows the label ids of the list files (the sorted names), which ClassInd.txt"
    " contradicts: the classes of each stage may not be those behind published figures.",
}


def cautions(data: Any, *, drawn: bool) -> list[str]:
    """What must be said wherever figures on this data are shown; `drawn` if a seed makes the stages."""
    said = [CAUTIONS.get(type(data)), DRAWN_CAUTIONS.get(type(data)) if drawn else None]
    return [sentence for sentence in said if sentence]


def read_lists(data: BenchmarkData) -> Listed:
    """What the lists say, whether or not the videos are there; raises DataError for a missing or broken list."""
    root = Path(data.root).expanduser()
    if isinstance(data, Ucf101Data):
        return read_ucf101(root / data.lists, data.split)
    if isinstance(data, Hmdb51Data):
        return read_hmdb51(root / data.lists, data.split)
    if isinstance(data, Ssv2Data):
        return read_ssv2(root / data.lists)
    if isinstance(data, Kinetics400Data):
        return read_kinetics400(root / data.classes, {"train": root / data.train, "test": root / data.test})
    return read_vclimb(root / data.file)


def listed_videos(data: BenchmarkData) -> list[Video]:
    """The videos that the lists name, sorted by path, whether or not they are there; DataError for one named twice."""
    folder = Path(data.root).expanduser() / data.videos
    videos = [Video(folder / path, label, split) for path, label, split in read_lists(data).rows]
    videos.sort(key=lambda video: os.fspath(video.path))
    for video, following in pairwise(videos):
        if video.path == following.path:
            twice = "more than once" if video.split == following.split else "for both training and testing"
            raise DataError(f"the lists of {data.root} name {video.path} {twice}; take them from their authors.")
    return videos


def read_benchmark(data: BenchmarkData, *, learnt: Collection[str] = (), skip: SkipList = NOTHING) -> list[Video]:
    """The listed videos, all of them there; of `learnt` classes only the test videos that are still there.

    Raises DataError for a missing or broken list, and for missing videos: how many, and the first of them.
    """
    folder = Path(data.root).expanduser() / data.videos
    listed = listed_videos(data)
    skipped = skip.among([video.path for video in listed], folder, learnt=learnt)
    listed = [video for video in listed if video.path not in skipped]
    there = files_in({video.path.parent for video in listed})
    wanted = [video for video in listed if video.label not in learnt or (video.split == "test" and video.path in there)]
    missing = [os.fspath(video.path.relative_to(folder)) for video in wanted if video.path not in there]
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(wanted)} videos that the lists name are missing in {folder}: {some(missing)};"
            f" put them there, correct [data] videos, or put them on the skip list ([data] skip) and say so beside your"
            f" results."
        )
    return wanted


def files_in(folders: Iterable[Path]) -> frozenset[Path]:
    """The files in the folders; one listing per folder, since there may be hundreds of thousands of videos."""
    return frozenset(
        folder / entry.name for folder in folders if folder.is_dir() for entry in os.scandir(folder) if entry.is_file()
    )
