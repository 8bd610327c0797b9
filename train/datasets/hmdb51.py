"""HMDB51 with its official splits."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Final

from stpr.runtime.contract.errors import DataError
from stpr.train.datasets.annotations import SPLITS, Split, Video
from stpr.train.datasets.dataset import Dataset, Listed
from stpr.train.datasets.list_files import Form, SplitNumber, by_id, read_lines

CLASSES: Final = 51
HINT: Final = (
    "testTrainMulti_7030_splits of test_train_splits.rar from the HMDB51 page belongs there, or a folder with"
    " hmdb51_trainlist0N.txt and hmdb51_testlist0N.txt; else correct [data] lists"
)
PER_CLASS: Final = Form(r"(.+\.avi) ([012])", "VIDEO.avi 0, 1 or 2")
PARTS: Final[dict[str, Split]] = {"1": "train", "2": "test"}  # 0: unused
PER_SPLIT: Final = Form(r"\d+\t(\d+)\t((.+)/.+\.avi)", "NUMBER ID CLASS/VIDEO.avi, separated by tabs")
ORDER: Final = (
    "HMDB51's class order follows the label ids of the list files (the sorted names), which ClassInd.txt"
    " contradicts: the classes of each stage may not be those behind published figures."
)


class Hmdb51(Dataset, tag="hmdb51", frozen=True, kw_only=True):
    """HMDB51: `<videos>/<class>/<*.avi>`, and the three official splits in `lists`."""

    videos: str = "videos"
    lists: str = "testTrainMulti_7030_splits"
    split: SplitNumber = 1

    caution_if_drawn: ClassVar[str] = ORDER

    def listed(self) -> Listed:
        """Read the official file per class, or one list per split; label ids are those of the lists (sorted names).

        A `ClassInd.txt` beside the lists is ignored, because its order differs from their label ids.
        """
        lists, folder = self.path(self.lists), self.path(self.videos)
        if (lists / f"hmdb51_trainlist{self.split:02d}.txt").is_file():
            return _listed_per_split(lists, self.split, folder)
        return _listed_per_class(lists, self.split, folder)


def _listed_per_class(lists: Path, split: int, folder: Path) -> Listed:
    ending = f"_test_split{split}.txt"
    files = {file.name.removesuffix(ending): file for file in sorted(lists.glob(f"*{ending}"))}
    if len(files) != CLASSES:
        raise DataError(f"{lists} has *{ending} for {len(files)} classes, not {CLASSES}; {HINT}.")
    videos = [
        Video(folder / label / name, label, PARTS[use])
        for label, file in files.items()
        for name, use in read_lines(file, PER_CLASS, HINT)
        if use in PARTS
    ]
    classes = tuple(sorted(files))
    return Listed(folder, videos, tuple(files[label] for label in classes), classes)


def _listed_per_split(lists: Path, split: int, folder: Path) -> Listed:
    files = {part: lists / f"hmdb51_{part}list{split:02d}.txt" for part in SPLITS}
    ids: dict[int, str] = {}
    videos: list[Video] = []
    for part, file in files.items():
        for number, path, label in read_lines(file, PER_SPLIT, HINT):
            if ids.setdefault(int(number), label) != label:
                raise DataError(f"{file}: the label {number} is both {ids[int(number)]!r} and {label!r}; fix the list.")
            videos.append(Video(folder / path, label, part))
    return Listed(folder, videos, tuple(files.values()), by_id(ids, 0, lists))
