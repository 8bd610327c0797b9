"""Which video shows which class, and whether it is for training or for testing."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from stpr.runtime.contract.errors import DataError

Split: TypeAlias = Literal["train", "test"]

SPLITS: Final[tuple[Split, Split]] = ("train", "test")


@dataclass(frozen=True, slots=True)
class Video:
    """One annotated video file."""

    path: Path
    label: str
    split: Split

    def __post_init__(self) -> None:
        """A class is one class in whichever form of Unicode its name is spelt."""
        object.__setattr__(self, "label", composed(self.label))

    @property
    def recording(self) -> str:
        """What it was cut from: videos of a folder whose names differ in their last number alone come from one."""
        stem = re.sub(r"\d+$", "", self.path.stem)
        return f"{self.path.parent}/{stem}"


def composed(name: str) -> str:
    """A name in Unicode's composed form: macOS writes é in two letters, and other systems in one."""
    return unicodedata.normalize("NFC", name)


def check_name(path: Path) -> None:
    """Raise DataError for a path that no list, record or decoder can hold."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"the path {os.fsencode(path)!r} is not in UTF-8; rename what is not.") from error


def carried(path: Path, place: Path) -> Path:
    """Where a file lies now that was at `path` once: below `place`, by as much of its path as is found there.

    The path itself if it is still there, or nowhere below.
    """
    if path.is_file():
        return path
    ends = (place.joinpath(*path.parts[start:]) for start in range(1, len(path.parts)))
    return next((end for end in ends if end.is_file()), path)


def some(names: Sequence[str]) -> str:
    """The first names, quoted, and how many more there are: for errors."""
    shown = ", ".join(repr(name) for name in names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")
