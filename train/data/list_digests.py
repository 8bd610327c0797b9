"""What parts a data set into training and test, as SHA-256: kept beside the figures, so that they can be told apart."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from stpr.train.datasets.dataset import Dataset, Listed

PATHS: Final = "train/*/*, test/*/*"  # of a folder per class the paths themselves are the list


def list_digests(data: Dataset, listed: Listed) -> dict[str, str]:
    """Each list file, named from the data set's folder, and its SHA-256; none of videos that are yet to be written.

    A folder per class has no list: there it is the SHA-256 of the sorted paths `SPLIT/CLASS/VIDEO`, a line each.
    """
    if not listed.files and not listed.unwritten:
        lines = sorted(f"{video.path.relative_to(listed.folder).as_posix()}\n" for video in listed.videos)
        return {PATHS: hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()}
    root = data.path("")
    return {_named(file, root): hashlib.sha256(file.read_bytes()).hexdigest() for file in listed.files}


def joined_lists(before: Mapping[str, Sequence[str]], now: Mapping[str, str]) -> dict[str, list[str]]:
    """The digests of earlier stages and of what is read now; an extended run may have had several lists of one name."""
    names = dict.fromkeys([*before, *now])
    return {name: list(dict.fromkeys([*before.get(name, ()), *filter(None, [now.get(name)])])) for name in names}


def _named(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)
