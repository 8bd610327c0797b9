"""A folder of videos as users have it: a folder for each class, already parted into train/ and test/ or not."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from stpr.runtime.contract.errors import DataError
from stpr.train.datasets.annotations import SPLITS, Video, check_name, some
from stpr.train.datasets.folder import Folder, class_folders, class_videos, visible

BACKGROUND: Final = "background"  # beside the classes: no class, but videos of what is none
TESTED: Final = 0.25  # of a class's videos, about


def read_class_folders(root: Path) -> tuple[list[Video], list[str]]:
    """The videos of `root/CLASS`, or of `root/train/CLASS` and `root/test/CLASS`; and notes on a split made here.

    Raises DataError for whatever would be left out in silence.
    """
    notes: list[str] = []
    if any((root / split).is_dir() for split in SPLITS):
        listed = Folder(root=str(root)).listed()
        for name, fault in listed.faults.items():
            if name != BACKGROUND:
                raise DataError(fault)
        videos = [video for video in listed.videos if video.label != BACKGROUND]
    else:
        folders = [folder for folder in class_folders(root) if folder.name != BACKGROUND]
        found = [Video(path, folder.name, "train") for folder in folders for path in class_videos(folder)]
        videos, notes = split_by_recording(found)
    for video in videos:
        check_name(video.path)
    there = {path for folder in {video.path.parent for video in videos} for path in visible(folder)}
    if odd := sorted(path.name for path in there - {video.path for video in videos}):
        notes = [*notes, f"left out, since their names are not those of videos: {some(odd)}"]
    return videos, notes


def background_of(root: Path) -> tuple[str, list[str]]:
    """The folder of background videos in a folder of classes, "" where there is none; and what to say of it.

    It lies beside the classes of train/, or beside train/ itself. Raises DataError where there are two of them.
    """
    found = [folder for folder in (root / BACKGROUND, root / "train" / BACKGROUND) if folder.is_dir()]
    if len(found) > 1:
        raise DataError(f"{found[0]} and {found[1]} are both background; put their videos into one of the two.")
    said = [f"{folder} is no class: its videos show what is none, so that events keep silent there" for folder in found]
    if (unused := root / "test" / BACKGROUND).is_dir():
        said.append(
            f"left out: {unused}; nothing is tested on background, stpr-bench judges events on annotated videos"
        )
    return str(found[0]) if found else "", said


def split_by_recording(videos: Sequence[Video]) -> tuple[list[Video], list[str]]:
    """Choose about a quarter of each class's videos for testing, and say how.

    No recording is on both sides where a class has several; of one recording the end is tested on. Raises DataError for
    a class with a single video.
    """
    classes: defaultdict[str, list[Video]] = defaultdict(list)
    for video in sorted(videos, key=_in_order):
        classes[video.label].append(video)
    tested = {video for own in classes.values() for video in _tested(own)}
    parted = [replace(video, split="test" if video in tested else "train") for own in classes.values() for video in own]
    notes = [
        f"{len(videos) - len(tested)} videos to learn from and {len(tested)} to test on, parted by recording"
        " (a video's name up to its last number); to part them yourself, make train/CLASS/ and test/CLASS/"
    ]
    if single := [name for name, own in classes.items() if len({video.recording for video in own}) == 1]:
        notes.append(
            f"of {some(single)} all names differ in their last number alone, so they may come from one recording: the"
            " end of each is tested on, and its accuracy may promise too much"
        )
    return parted, notes


def _tested(own: list[Video]) -> list[Video]:
    """Those of one class, in order."""
    if len(own) < 2:
        raise DataError(
            f"the class {own[0].label!r} has one video, {own[0].path}: one is needed to learn from and another one to"
            " test on; add some or remove the folder."
        )
    wanted = max(1, round(TESTED * len(own)))
    recordings: defaultdict[str, list[Video]] = defaultdict(list)
    for video in own:
        recordings[video.recording].append(video)
    parts = list(recordings.values())
    if len(parts) == 1:
        return own[-wanted:]
    tested: list[Video] = []
    # The smallest first, of these the last one; the largest is left to learn from.
    turns = sorted(range(len(parts)), key=lambda place: (len(parts[place]), -place))
    for place in turns[:-1]:
        if len(tested) < wanted:
            tested += parts[place]
    return tested


def _in_order(video: Video) -> tuple[str, list[int | str]]:
    """By class, then by name as people count: clip2 comes before clip10."""
    parts = re.split(r"(\d+)", video.path.name)
    return video.label, [int(part) if part.isdecimal() else part for part in parts]
