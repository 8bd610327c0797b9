"""What training asks of a data set. A recipe's [data] table is parsed into one of its kinds, which reads its own lists.

Nothing here opens a video or loads torch or OpenCV, so that a command line can read a recipe at once.
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
    """What the lists of a data set say, whether or not the videos are there."""

    folder: Path  # paths on the skip list are relative to it
    videos: list[Video]
    files: tuple[Path, ...] = ()  # the list files that were read; none if the paths of the videos are the list
    classes: tuple[str, ...] = ()  # by label id; none if the lists give no ids: then the sorted names are the order
    stages: tuple[tuple[str, ...], ...] = ()  # none unless the lists fix them
    faults: Mapping[str, str] = field(default_factory=dict)  # class -> why it has no videos; once learnt it needs none
    behind: list[Video] = field(default_factory=list)  # training videos of learnt classes that are still there
    unwritten: int = 0  # bytes, on average, that `prepare` writes before the videos are there


class Dataset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """A [data] table: its keys, and the reading of its lists. Kinds are subclasses; `tag` is what `kind` says."""

    root: str
    skip: str = ""  # a list of videos to leave out
    background: str = ""  # a folder of videos in which nobody does anything that is to be learnt, as long as they like

    caution: ClassVar[str] = ""  # what must be said beside any figures
    caution_if_drawn: ClassVar[str] = ""  # what must be said beside figures of stages that a seed makes

    def path(self, name: str) -> Path:
        """A file or folder of the data set: relative to `root` unless absolute."""
        return Path(self.root).expanduser() / Path(name).expanduser()

    def prepare(self, advance: Callable[[int, int], None]) -> None:
        """Write what is not there yet, of a kind that makes its own videos; `advance` is told how many of how many."""

    def listed(self) -> Listed:
        """Read the lists, in any order of videos. Raises DataError for a list that is missing or broken."""
        raise NotImplementedError

    def cautions(self, *, drawn: bool) -> list[str]:
        """What must be said wherever figures on this data are shown; `drawn` if a seed makes the stages."""
        return [said for said in (self.caution, self.caution_if_drawn if drawn else "") if said]
