"""Check that no video content is in both splits or in two classes, whatever the files are called.

Otherwise accuracy would measure memorisation, and the two classes could not be distinguished. What is compared with
training clips of earlier stages, whose files may be gone, is in `run/learnt.py`.
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

TAIL: Final = 4096  # bytes; a video's end holds its last frames or its index, which differ between videos


def check_overlap(videos: Sequence[Video]) -> list[str]:
    """Raise DataError if the same content is in both splits, or in two classes; returns a note if it is twice in one.

    Compares sizes, then ends, then whole contents: only files of equal size are opened, and only files with equal ends
    are read completely.
    """
    groups = [list(videos)]
    for key in (_size, _tail, content_digest):
        groups = [part for group in groups for part in _alike(group, key)]
    both = [group for group in groups if _in_both_splits(group)]
    if both:
        trained, tested = (next(video.path for video in both[0] if video.split == split) for split in SPLITS)
        raise DataError(
            f"{tested} is for testing and {trained} for training, but their contents are equal"
            f" ({len(both)} such videos); remove one of them from its split or put it on the skip list ([data] skip)."
        )
    odd = [group for group in groups if len({video.label for video in group}) > 1]
    if odd:
        one = odd[0][0]
        other = next(video for video in odd[0] if video.label != one.label)
        raise DataError(
            f"{one.path} has the class {one.label!r} and {other.path} {other.label!r}, but their contents are equal"
            f" ({len(odd)} such videos); remove the one whose class is wrong, or put it on the skip list"
            f" ([data] skip)."
        )
    if not groups:
        return []
    one, other, *_ = groups[0]
    more = f", and so {len(groups) - 1} more" if len(groups) > 1 else ""
    return [f"{other.path} has the same content as {one.path}{more}: a copy counts as a clip of its own; remove it"]


def sketch(videos: Sequence[Video]) -> str:
    """A digest of a set of videos, computed from sizes and ends, independent of names and folders."""
    looks = sorted(hashlib.sha256(f"{_size(video.path)}\0".encode() + _tail(video.path)).digest() for video in videos)
    return hashlib.sha256(b"".join(looks)).hexdigest()


def _alike(videos: Sequence[Video], key: Callable[[Path], Hashable]) -> list[list[Video]]:
    """Groups of several videos with equal keys."""
    groups: defaultdict[Hashable, list[Video]] = defaultdict(list)
    for video in videos:
        groups[key(video.path)].append(video)
    return [group for group in groups.values() if len(group) > 1]


def _in_both_splits(videos: Sequence[Video]) -> bool:
    return {video.split for video in videos} == set(SPLITS)


def _size(path: Path) -> Hashable:
    with reading(path):
        return path.stat().st_size or path  # all empty files are equal, but they are not videos


def _tail(path: Path) -> bytes:
    with reading(path), path.open("rb") as file:
        file.seek(-min(TAIL, os.fstat(file.fileno()).st_size), os.SEEK_END)
        return file.read()
