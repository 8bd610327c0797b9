"""UCF101 with its official splits."""

from __future__ import annotations

from typing import Final

from stpr.runtime.contract.errors import DataError
from stpr.train.datasets.annotations import SPLITS, Video
from stpr.train.datasets.dataset import Dataset, Listed
from stpr.train.datasets.list_files import NAMED_ID, Form, SplitNumber, by_id, check_class, read_lines

HINT: Final = (
    "the lists of UCF101TrainTestSplits-RecognitionTask.zip from the UCF101 page belong there, or correct [data] lists"
)
FORMS: Final = {
    "train": Form(r"((.+)/.+\.avi) (\d+)", "CLASS/VIDEO.avi ID"),
    "test": Form(r"((.+)/.+\.avi)", "CLASS/VIDEO.avi"),
}


class Ucf101(Dataset, tag="ucf101", frozen=True, kw_only=True):
    """UCF101: `<videos>/<class>/<v_*.avi>`, and the three official splits in `lists`."""

    videos: str = "videos"
    lists: str = "ucfTrainTestlist"
    split: SplitNumber = 1

    def listed(self) -> Listed:
        """Read `classInd.txt`, `trainlist0N.txt` and `testlist0N.txt`."""
        lists, folder = self.path(self.lists), self.path(self.videos)
        index = lists / "classInd.txt"
        classes = by_id({int(number): name for number, name in read_lines(index, NAMED_ID, HINT)}, 1, index)
        files = {part: lists / f"{part}list{self.split:02d}.txt" for part in SPLITS}
        videos: list[Video] = []
        for part, file in files.items():
            for path, label, *number in read_lines(file, FORMS[part], HINT):
                check_class(label, classes, file)
                if number and classes.index(label) + 1 != int(number[0]):
                    raise DataError(
                        f"{file} gives {path} the label {number[0]}, {index} another one; take both from one source."
                    )
                videos.append(Video(folder / path, label, part))
        return Listed(folder, videos, (index, *files.values()), classes)
