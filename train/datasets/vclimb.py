"""UCF101 with a task list of the vCLIMB benchmark."""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

from stpr.runtime.contract.errors import DataError
from stpr.train.datasets.annotations import Split, Video
from stpr.train.datasets.dataset import Dataset, Listed
from stpr.train.datasets.list_files import read_json

HINT: Final = (
    "the task list of the vCLIMB benchmark belongs there, its pickle (data/UCF101_data.pkl or UCF101_data_20tasks.pkl)"
    " rewritten as JSON, or correct [data] file"
)
INFLATED: Final = (
    "vCLIMB split UCF101's videos at random, so training and test share groups (the same people and"
    " scenes): these figures are inflated and can't be compared with those on the official splits."
)


class _Tasks(msgspec.Struct, frozen=True):
    train: list[dict[str, list[str]]]
    test: list[dict[str, list[str]]]


class Vclimb(Dataset, tag="vclimb", frozen=True, kw_only=True):
    """UCF101 with a vCLIMB task list, which also fixes the stages; results are not comparable with `ucf101`."""

    videos: str = "videos"
    file: str = "UCF101_data.json"

    caution: ClassVar[str] = INFLATED

    def listed(self) -> Listed:
        """Read the task list as JSON: split -> tasks -> class -> video ids; its `val` split is not used.

        Ids were split at random: videos of one group (same person, same scene) are in both train and test.
        """
        file, folder = self.path(self.file), self.path(self.videos)
        lists = read_json(file, _Tasks, HINT)
        stages = tuple(tuple(task) for task in lists.train)
        if [set(task) for task in lists.test] != [set(task) for task in stages]:
            raise DataError(f"{file}: the tasks of train and test have different classes; {HINT}.")
        parts: list[tuple[Split, list[dict[str, list[str]]]]] = [("train", lists.train), ("test", lists.test)]
        videos = [
            Video(folder / label / f"{name}.avi", label, part)
            for part, tasks in parts
            for task in tasks
            for label, names in task.items()
            for name in names
        ]
        return Listed(folder, videos, (file,), tuple(name for names in stages for name in names), stages)
