"""Kinetics-400; its validation list is the test split."""

from __future__ import annotations

import csv
import io
from typing import ClassVar, Final

from stpr.runtime.contract.errors import DataError
from stpr.train.datasets.annotations import Split, Video
from stpr.train.datasets.dataset import Dataset, Listed
from stpr.train.datasets.list_files import NAMED_ID, by_id, check_class, read_lines, read_text

HINT: Final = (
    "the Kinetics-400 annotations belong there (columns label, youtube_id, time_start, time_end, and the class names in"
    " lines of ID NAME), or correct [data] train, test and classes"
)
DRAWN: Final = (
    "the stages are drawn by a seed because vCLIMB's own task lists of Kinetics-400 were not at hand:"
    " these figures are near its tables, not comparable with them."
)


class Kinetics400(Dataset, tag="kinetics400", frozen=True, kw_only=True):
    """Kinetics-400: `<videos>/<class>/<youtube id>_<start>_<end>.mp4`; tested on its validation list."""

    videos: str = "videos"
    classes: str = "kinetics_label_map.txt"
    train: str = "train.csv"
    test: str = "val.csv"

    caution_if_drawn: ClassVar[str] = DRAWN

    def listed(self) -> Listed:
        """Read the annotation CSV of each split; start and end in a video's name have six digits each."""
        names, folder = self.path(self.classes), self.path(self.videos)
        classes = by_id({int(number): name for number, name in read_lines(names, NAMED_ID, HINT)}, 1, names)
        known = frozenset(classes)
        files: dict[Split, str] = {"train": self.train, "test": self.test}
        videos: list[Video] = []
        for part, name in files.items():
            file = self.path(name)
            reader = csv.DictReader(io.StringIO(read_text(file, HINT), newline=""))
            for row in reader:
                try:
                    start, end = int(row["time_start"]), int(row["time_end"])
                    label, video = row["label"], row["youtube_id"]
                except (KeyError, TypeError, ValueError) as error:
                    raise DataError(f"{file}, line {reader.line_num} is not an annotation; {HINT}.") from error
                check_class(label, known, file)
                videos.append(Video(folder / label / f"{video}_{start:06d}_{end:06d}.mp4", label, part))
        return Listed(folder, videos, (names, *map(self.path, files.values())), classes)
