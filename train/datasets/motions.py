"""The embedded set: ten little actions, drawn and written as real videos where they are not there yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeAlias

import msgspec

from stpr.train.datasets.annotations import Video
from stpr.train.datasets.csv_list import CsvList
from stpr.train.datasets.dataset import Dataset, Listed

# The writer needs OpenCV, which takes a while to load, so it is imported where it is used.

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]


class Motions(Dataset, tag="motions", frozen=True):
    """The embedded set, generated into `root` when it is not there yet."""

    root: str = "data/motions"
    train_per_class: Count = 100
    test_per_class: Count = 40
    seed: int = 0

    def prepare(self, advance: Callable[[int, int], None]) -> None:
        """Write the videos and their list, unless they are there. Raises DataError if `root` holds something else."""
        from stpr.train.datasets.motions_writer import write_motions

        write_motions(
            self.path(""),
            train_per_class=self.train_per_class,
            test_per_class=self.test_per_class,
            seed=self.seed,
            advance=advance,
        )

    def listed(self) -> Listed:
        """The written videos; those that will be written where there are none yet."""
        from stpr.train.datasets.motions_writer import CLIP_BYTES, MotionsSettings, clip_names, is_written

        made = MotionsSettings(train_per_class=self.train_per_class, test_per_class=self.test_per_class, seed=self.seed)
        if is_written(self.path(""), made):
            return CsvList(root=self.root).listed()
        folder = self.path("clips")
        videos = [Video(folder / name, label, split) for name, label, split, _ in clip_names(made)]
        return Listed(folder, videos, unwritten=CLIP_BYTES * len(videos))
