"""A data set with one folder per class and split; it needs no list file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from stpr.runtime.contract.errors import DataError
from stpr.train.datasets.annotations import SPLITS, Video, composed
from stpr.train.datasets.dataset import Dataset, Listed

VIDEO_SUFFIXES: Final = frozenset(
    {
        *(".3g2", ".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"),
        *(".mts", ".ogg", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
    }
)
MEANT: Final = {  # names that people and other tools give the folders of the splits
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing", "val", "valid", "validation", "dev", "eval"), "test"),
}
UNASKED: Final = frozenset({"thumbs.db", "desktop.ini", "@eadir", "__macosx"})


class Folder(Dataset, tag="folder", frozen=True):
    """`root/train/<class>/<video>` and `root/test/<class>/<video>`."""

    def listed(self) -> Listed:
        """Raises DataError for a missing folder, and for files that would otherwise be ignored silently."""
        root = self.path("")
        if not root.is_dir():
            raise DataError(f"there is no data set at {root}: no such folder; name another one with --data DIR.")
        videos: list[Video] = []
        faults: dict[str, str] = {}
        for split in SPLITS:
            for folder in class_folders(root / split):
                try:
                    videos += [Video(path, folder.name, split) for path in class_videos(folder)]
                except DataError as error:
                    if split == "test" and visible(folder):
                        raise  # a class with test videos needs training videos too
                    faults[composed(folder.name)] = error.message
        return Listed(root, videos, faults=faults)


def meant_splits(root: Path) -> dict[str, str]:
    """Map folders of folders that are called like a split, such as `validation`, to the split they probably are."""
    named = {entry: MEANT[entry.name.lower()] for entry in visible(root) if entry.name.lower() in MEANT}
    return {
        entry.name: split
        for entry, split in named.items()
        if entry.is_dir() and any(inner.is_dir() for inner in visible(entry))
    }


def class_folders(folder: Path) -> list[Path]:
    """List the class folders, sorted by name; raises DataError if there are none, and for a stray file."""
    split = folder.name
    if not folder.is_dir():
        other = [name for name, meant in meant_splits(folder.parent).items() if meant == split]
        fix = f"rename {other[0]}/" if other else f"put each class's videos into {split}/<class>/"
        raise DataError(f"{folder.parent} has no folder {split}/; {fix}.")
    entries = visible(folder)
    if not entries:
        raise DataError(f"{folder} is empty; put each class's videos into {split}/<class>/.")
    stray = [entry for entry in entries if not entry.is_dir()]
    if stray:
        raise DataError(f"{stray[0]} is not in a class folder; move it into {folder}/<class>/ or remove it.")
    return entries


def class_videos(folder: Path) -> list[Path]:
    """List the videos of a class, sorted by name; raises DataError if there are none, and for a nested folder."""
    entries = visible(folder)
    if not entries:
        raise DataError(f"the class folder {folder} is empty; add videos or remove the folder.")
    nested = [entry for entry in entries if entry.is_dir()]
    if nested:
        raise DataError(f"{nested[0]} is a folder inside a class folder; move its videos up into {folder}.")
    videos = [entry for entry in entries if entry.suffix.lower() in VIDEO_SUFFIXES]
    if not videos:
        found = ", ".join(sorted({entry.suffix.lower() or "no suffix" for entry in entries}))
        known = ", ".join(sorted(VIDEO_SUFFIXES))
        raise DataError(f"the class folder {folder} has no video, only files with {found}; video files end in {known}.")
    return videos


def visible(folder: Path) -> list[Path]:
    """List a folder without hidden files, such as .DS_Store, and what systems put into folders unasked."""
    return sorted(entry for entry in folder.iterdir() if entry.name[0] != "." and entry.name.lower() not in UNASKED)
