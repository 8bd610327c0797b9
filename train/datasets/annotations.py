"""Which video shows which class, and whether it is for training or for testing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

Split: TypeAlias = Literal["train", "test"]

SPLITS: Final[tuple[Split, Split]] = ("train", "test")


@dataclass(frozen=True, slots=True)
class Video:
    """One annotated video file."""

    path: Path
    label: str
    split: Split


def some(names: Sequence[str]) -> str:
    """The first names, quoted, and how many more there are: for errors."""
    shown = ", ".join(repr(name) for name in names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")
