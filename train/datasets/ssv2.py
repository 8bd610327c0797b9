"""Something-Something V2; its validation list is the test split."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from stpr.runtime.contract.errors import DataError
from stpr.train.datasets.annotations import SPLITS, Video
from stpr.train.datasets.dataset import Dataset, Listed
from stpr.train.datasets.list_files import Form, by_id, check_class, read_json, read_lines

HINT: Final = (
    "the labels archive of Something-Something V2 (labels.json, train.json, validation.json) belongs there, or a folder"
    " with category.txt, ssv2_train.txt and ssv2_val.txt; else correct [data] lists"
)


class Ssv2(Dataset, tag="ssv2", frozen=True, kw_only=True):
    """Something-Something V2: `<videos>/<id>.webm`; tested on the validation list, whose labels are public."""

    videos: str = "videos"
    lists: str = "labels"

    def listed(self) -> Listed:
        """Read `labels.json`, `train.json`, `validation.json` (official), or `category.txt`, `ssv2_{train,val}.txt`."""
        lists, folder = self.path(self.lists), self.path(self.videos)
        return (_listed_as_text if (lists / "ssv2_train.txt").is_file() else _listed_as_json)(lists, folder)


class _Annotation(msgspec.Struct, frozen=True):
    id: str
    template: str


def _listed_as_json(lists: Path, folder: Path) -> Listed:
    index = lists / "labels.json"
    ids = read_json(index, dict[str, int], HINT)
    classes = by_id({number: name for name, number in ids.items()}, 0, index)
    files = dict(zip(SPLITS, (lists / "train.json", lists / "validation.json"), strict=True))
    videos: list[Video] = []
    for part, file in files.items():
        for annotation in read_json(file, list[_Annotation], HINT):
            label = annotation.template.replace("[", "").replace("]", "")
            check_class(label, ids, file)
            videos.append(Video(folder / f"{annotation.id}.webm", label, part))
    return Listed(folder, videos, (index, *files.values()), classes)


def _listed_as_text(lists: Path, folder: Path) -> Listed:
    index = lists / "category.txt"
    classes = tuple(name for (name,) in read_lines(index, Form("(.+)", "NAME"), HINT))
    files = dict(zip(SPLITS, (lists / "ssv2_train.txt", lists / "ssv2_val.txt"), strict=True))
    videos: list[Video] = []
    for part, file in files.items():
        for path, number in read_lines(file, Form(r"(\S+\.webm) (\d+)", "VIDEO.webm ID"), HINT):
            if int(number) >= len(classes):
                raise DataError(f"{file}: {path} has the label {number}, but {index} ends at {len(classes) - 1}.")
            videos.append(Video(folder / path, classes[int(number)], part))
    return Listed(folder, videos, (index, *files.values()), classes)
