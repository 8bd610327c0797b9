"""Read a folder of videos with one folder per class; split it by recording if it has no train/ and test/."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from stpr.runtime.contract.errors import DataError
from stpr.runtime.contract.names import in_order
from stpr.train.datasets.annotations import SPLITS, Video, check_label, check_name, some
from stpr.train.datasets.folder import Folder, class_folders, class_videos, meant_splits, visible

BACKGROUND: Final = "background"  # a folder beside the classes, with videos that show none of them
TESTED: Final = 0.25  # approximate share of a class's videos


def read_class_folders(root: Path) -> tuple[list[Video], list[str]]:
    """Read the videos of `root/CLASS`, or `root/train/CLASS` and `root/test/CLASS`; also returns notes for the user.

    Raises DataError for files that would otherwise be ignored silently.
    """
    notes: list[str] = []
    if any((root / split).is_dir() for split in SPLITS):
        listed = Folder(root=str(root)).listed()
        for name, fault in listed.faults.items():
            if name != BACKGROUND:
                raise DataError(fault)
        videos = [video for video in listed.videos if video.label != BACKGROUND]
        if beside := [entry.name for entry in visible(root) if entry.name not in {*SPLITS, BACKGROUND}]:
            notes = [f"ignored, because only train/ and test/ are read: {some(beside)}"]
    else:
        if other := meant_splits(root):
            named = " and ".join(f"{name}/ to {split}/" for name, split in other.items())
            raise DataError(f"{root} seems to hold splits, not classes; rename {named}.")
        folders = [folder for folder in class_folders(root) if folder.name != BACKGROUND]
        found = [Video(path, folder.name, "train") for folder in folders for path in class_videos(folder)]
        videos, notes = split_by_recording(found)
    _check(videos)
    there = {path for folder in {video.path.parent for video in videos} for path in visible(folder)}
    if odd := sorted(path.name for path in there - {video.path for video in videos}):
        notes = [*notes, f"ignored, because they don't have the names of videos: {some(odd)}"]
    return videos, notes


def _check(videos: Sequence[Video]) -> None:
    """Raise DataError for a name that can't be stored, and for what is no regular file."""
    for video in videos:
        check_label(video.label)
        check_name(video.path)
    if gone := [str(video.path) for video in videos if not video.path.is_file()]:
        raise DataError(f"{some(gone)}: no regular file, but a broken link, pipe or socket; mend it or remove it.")


def background_of(root: Path) -> tuple[str, list[str]]:
    """Find the folder of background videos, "" if there is none; also returns notes for the user.

    It is beside the classes, in train/, or beside train/. Raises DataError if there are two.
    """
    found = [folder for folder in (root / BACKGROUND, root / "train" / BACKGROUND) if folder.is_dir()]
    if len(found) > 1:
        raise DataError(f"{found[0]} and {found[1]} are both background; move their videos into one of them.")
    notes = [f"{folder} is not a class: its videos show no action and teach events what to ignore" for folder in found]
    if (unused := root / "test" / BACKGROUND).is_dir():
        notes.append(
            f"ignored: {unused}; background is not tested here, stpr-bench evaluates events on annotated videos"
        )
    return str(found[0]) if found else "", notes


def split_by_recording(videos: Sequence[Video]) -> tuple[list[Video], list[str]]:
    """Choose about a quarter of each class's videos for testing; also returns notes for the user.

    Recordings are kept whole if a class has several; of a single recording the last videos are tested on. Raises
    DataError for a class with a single video.
    """
    classes: defaultdict[str, list[Video]] = defaultdict(list)
    for video in sorted(videos, key=lambda video: (video.label, in_order(video.path))):
        classes[video.label].append(video)
    tested = {video for own in classes.values() for video in _tested(own)}
    parted = [replace(video, split="test" if video in tested else "train") for own in classes.values() for video in own]
    notes = [
        f"{len(videos) - len(tested)} videos to train on and {len(tested)} to test on, split by recording"
        " (a video's name up to its last number); for a split of your own, make train/CLASS/ and test/CLASS/"
    ]
    if single := [name for name, own in classes.items() if len({video.recording for video in own}) == 1]:
        notes.append(
            f"all videos of {some(single)} have names that differ only in the last number, so they may come from one"
            " recording: its end is tested on, and accuracy may be overestimated"
        )
    return parted, notes


def _tested(own: list[Video]) -> list[Video]:
    """Choose the test videos of one class, given in order."""
    if len(own) < 2:
        raise DataError(
            f"the class {own[0].label!r} has one video, {own[0].path}: at least one is needed to train on and one"
            " to test on; add videos or remove the folder."
        )
    wanted = max(1, round(TESTED * len(own)))
    recordings: defaultdict[str, list[Video]] = defaultdict(list)
    for video in own:
        recordings[video.recording].append(video)
    parts = list(recordings.values())
    if len(parts) == 1:
        return own[-wanted:]
    tested: list[Video] = []
    # Take the smallest recordings first, the later one of equals; the largest is left for training.
    turns = sorted(range(len(parts)), key=lambda place: (len(parts[place]), -place))
    for place in turns[:-1]:
        if len(tested) < wanted:
            tested += parts[place]
    return tested
