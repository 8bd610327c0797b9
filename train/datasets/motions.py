"""The embedded data set `motions`: ten synthetic actions, generated as real video files when first needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeAlias

import msgspec

from stpr.train.datasets.annotations import Video
from stpr.train.datasets.csv_list import CsvList
from stpr.train.datasets.dataset import Dataset, Listed

# The writer imports OpenCV, which is slow to load, so it is imported where it is used.

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]


class Motions(Dataset, tag="motions", frozen=True):
    """The embedded set, generated in `root` if it is not there yet."""

    root: str = "data/motions"
    train_per_class: Count = 100
    test_per_class: Count = 40
    seed: int = 0

    def prepare(self, advance: Callable[[int, int], None]) -> None:
        """Write the videos and their list if missing. Raises DataError if `root` holds something else."""
        from stpr.train.datasets.motions_writer import write_motions

        write_motions(
            self.path(""),
            train_per_class=self.train_per_class,
            test_per_class=self.test_per_class,
            seed=self.seed,
            advance=advance,
        )

    def listed(self) -> Listed:
        """The videos, whether written already or still to be written."""
        from stpr.train.datasets.motions_writer import CLIP_BYTES, MotionsSettings, clip_names, is_written

        made = MotionsSettings(train_per_class=self.train_per_class, test_per_class=self.test_per_class, seed=self.seed)
        if is_written(self.path(""), made):
            return CsvList(root=self.root).listed()
        folder = self.path("clips")
        videos = [Video(folder / name, label, split) for name, label, split, _ in clip_names(made)]
        return Listed(folder, videos, unwritten=CLIP_BYTES * len(videos))
