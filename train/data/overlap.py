"""No video may be both trained and tested on, or be of two classes, under whatever name.

Accuracy would tell of memory, not of skill; and nobody can tell such classes apart.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Final

from stpr.runtime.contract.errors import DataError
from stpr.train.data.videos import content_digest, reading
from stpr.train.datasets.annotations import SPLITS, Video

TAIL: Final = 4096  # bytes; the end of a video holds its last frames or its index, which differ from video to video


def check_overlap(videos: Sequence[Video]) -> None:
    """Raise DataError if two videos of both splits, or of two classes, have the same content.

    Copies and links are told by size, end, all: only files of equal size are opened, and only those of an equal end are
    read whole.
    """
    groups = [list(videos)]
    for key in (_size, _tail, content_digest):
        groups = [part for group in groups for part in _at_odds(group, key)]
    both = [group for group in groups if _in_both_splits(group)]
    if both:
        trained, tested = (next(video.path for video in both[0] if video.split == split) for split in SPLITS)
        raise DataError(
            f"{tested} is for testing and {trained} for training, but they hold the same"
            f" ({len(both)} such videos); take one of them out of its split or put it on the skip list ([data] skip)."
        )
    if groups:
        one = groups[0][0]
        other = next(video for video in groups[0] if video.label != one.label)
        raise DataError(
            f"{one.path} is of the class {one.label!r} and {other.path} of {other.label!r}, but they hold the same"
            f" ({len(groups)} such videos); remove the one whose class is wrong, or put it on the skip list"
            f" ([data] skip)."
        )


def sketch(videos: Sequence[Video]) -> str:
    """A digest that tells whether two sets of videos hold the same: of sizes and ends, not of names or places."""
    looks = sorted(hashlib.sha256(f"{_size(video.path)}\0".encode() + _tail(video.path)).digest() for video in videos)
    return hashlib.sha256(b"".join(looks)).hexdigest()


def _at_odds(videos: Sequence[Video], key: Callable[[Path], Hashable]) -> list[list[Video]]:
    """The groups of equal key in which both splits, or several classes, occur."""
    groups: defaultdict[Hashable, list[Video]] = defaultdict(list)
    for video in videos:
        groups[key(video.path)].append(video)
    return [group for group in groups.values() if _in_both_splits(group) or len({video.label for video in group}) > 1]


def _in_both_splits(videos: Sequence[Video]) -> bool:
    return {video.split for video in videos} == set(SPLITS)


def _size(path: Path) -> Hashable:
    with reading(path):
        return path.stat().st_size or path  # empty files are alike, but no videos


def _tail(path: Path) -> bytes:
    with reading(path), path.open("rb") as file:
        file.seek(-min(TAIL, os.fstat(file.fileno()).st_size), os.SEEK_END)
        return file.read()
