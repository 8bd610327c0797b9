"""The interface of data sets. A recipe's [data] table is parsed into a subclass, which reads its annotation lists.

Nothing here opens a video or imports torch or OpenCV, so that commands can read a recipe quickly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import msgspec

from stpr.train.datasets.annotations import Video


@dataclass(frozen=True, slots=True)
class Listed:
    """The contents of a data set's annotation lists, whether or not the videos exist."""

    folder: Path  # the folder that paths on the skip list are relative to
    videos: list[Video]
    files: tuple[Path, ...] = ()  # the list files that were read; empty if the folders themselves are the list
    classes: tuple[str, ...] = ()  # in the order of label ids; empty if the lists have no ids
    stages: tuple[tuple[str, ...], ...] = ()  # empty unless the lists fix the stages
    faults: Mapping[str, str] = field(default_factory=dict)  # class -> why it has no videos; ignored if learnt
    behind: list[Video] = field(default_factory=list)  # training videos of classes already learnt, if still there
    notes: list[str] = field(default_factory=list)  # what a user should know about the videos
    unwritten: int = 0  # estimated bytes of the videos that `prepare` will generate


class Dataset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """A [data] table. Each kind of data set is a subclass with its keys; `tag` is the value of `kind`."""

    root: str
    skip: str = ""  # a file that lists videos to leave out
    background: str = ""  # a folder of videos of any length that show none of the classes

    caution: ClassVar[str] = ""  # a caveat that must accompany all results
    caution_if_drawn: ClassVar[str] = ""  # a caveat if the stages are drawn by a seed

    def path(self, name: str) -> Path:
        """Resolve the path of a file or folder of the data set, relative to `root`."""
        return Path(self.root).expanduser() / Path(name).expanduser()

    def prepare(self, advance: Callable[[int, int], None]) -> None:
        """Generate missing videos, for kinds that generate them; calls `advance(done, total)`."""

    def listed(self) -> Listed:
        """Read the lists; videos in any order. Raises DataError for a missing or malformed list."""
        raise NotImplementedError

    def cautions(self, *, drawn: bool) -> list[str]:
        """Caveats that must accompany results on this data; `drawn`: the stages are drawn by a seed."""
        return [caution for caution in (self.caution, self.caution_if_drawn if drawn else "") if caution]
