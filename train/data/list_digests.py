"""SHA-256 of a data set's split lists, stored with the metrics to identify the split."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from stpr.train.datasets.dataset import Dataset, Listed

PATHS: Final = "train/*/*, test/*/*"  # for a data set without list files


def list_digests(data: Dataset, listed: Listed) -> dict[str, str]:
    """Map each list file, relative to the data set's folder, to its SHA-256; empty if the videos are not written yet.

    Without list files it is the SHA-256 of the sorted paths `SPLIT/CLASS/VIDEO`, one per line.
    """
    if not listed.files and not listed.unwritten:
        lines = sorted(f"{video.path.relative_to(listed.folder).as_posix()}\n" for video in listed.videos)
        return {PATHS: hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()}
    root = data.path("")
    return {_named(file, root): hashlib.sha256(file.read_bytes()).hexdigest() for file in listed.files}


def joined_lists(before: Mapping[str, Sequence[str]], now: Mapping[str, str]) -> dict[str, list[str]]:
    """Merge the digests of earlier stages with the current ones; a list of one name may have had several versions."""
    names = dict.fromkeys([*before, *now])
    return {name: list(dict.fromkeys([*before.get(name, ()), *filter(None, [now.get(name)])])) for name in names}


def _named(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)
