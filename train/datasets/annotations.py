"""Annotated videos: path, class label and split (train or test)."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from stpr.runtime.contract.errors import DataError
from stpr.runtime.contract.names import is_text, shown

Split: TypeAlias = Literal["train", "test"]

SPLITS: Final[tuple[Split, Split]] = ("train", "test")


@dataclass(frozen=True, slots=True)
class Video:
    """One annotated video file."""

    path: Path
    label: str
    split: Split

    def __post_init__(self) -> None:
        """Compose the label's Unicode, so that one name is one class."""
        object.__setattr__(self, "label", composed(self.label))

    @property
    def recording(self) -> str:
        """The recording it was cut from: the path without the last number in the file name."""
        stem = re.sub(r"\d+$", "", self.path.stem)
        return f"{self.path.parent}/{stem}"


def composed(name: str) -> str:
    """A name in composed Unicode (NFC): macOS writes é as two code points, other systems as one."""
    return unicodedata.normalize("NFC", name)


def check_name(path: Path) -> None:
    """Raise DataError for a path that can't be stored in a list or passed to the decoder."""
    if not is_text(str(path)):
        raise DataError(f"the path {shown(path)} is not in UTF-8; rename the file or folder.")


def check_label(label: str) -> None:
    """Raise DataError for a class name that can't stand in a line: tables, logs and a device's events are lines."""
    if any(unicodedata.category(letter) in {"Cc", "Zl", "Zp"} for letter in label):
        raise DataError(f"the class {label!r} has a line break or a control character in its name; rename it.")


def alike(labels: Iterable[str]) -> list[str]:
    """Describe the class names that differ only in case or spaces, a group each: "'Wave' and 'wave'"."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for label in sorted(set(labels)):
        groups["".join(label.split()).casefold()].append(label)
    return [" and ".join(map(repr, group)) for group in groups.values() if len(group) > 1]


def carried(path: Path, place: Path) -> Path:
    """Find a file that was at `path` once: the longest tail of the path that exists below `place`.

    Returns `path` itself if it still exists, or if no tail is found.
    """
    if path.is_file():
        return path
    ends = (place.joinpath(*path.parts[start:]) for start in range(1, len(path.parts)))
    return next((end for end in ends if end.is_file()), path)


def some(names: Sequence[str]) -> str:
    """Quote the first names and count the others, for error messages."""
    shown = ", ".join(repr(name) for name in names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")
