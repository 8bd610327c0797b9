"""What parts a data set into training and test: its list files and their SHA-256, and the videos that they name.

Nothing here needs a video to be there, so that a run can be looked at before its data are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from stpr.runtime.motions import CLASSES
from stpr.train.datasets.annotations import SPLITS, Filter, Video, list_csv, read_folder
from stpr.train.datasets.benchmarks import listed_videos, read_lists
from stpr.train.datasets.motions import MotionsSettings, clip_names, is_written
from stpr.train.datasets.skip_list import NOTHING, SkipList
from stpr.train.settings.data import CsvData, DataSettings, FolderData, MotionsData

PATHS: Final = "train/*/*, test/*/*"  # of a folder per class the paths themselves are the list


def list_digests(data: DataSettings, videos: Sequence[Video]) -> dict[str, str]:
    """Each list file, named from the data set's folder, and its SHA-256.

    A folder per class has none: there it is the SHA-256 of the sorted paths `SPLIT/CLASS/VIDEO`, a line each.
    """
    root = Path(data.root).expanduser()
    if isinstance(data, FolderData):
        lines = sorted(f"{video.path.relative_to(root).as_posix()}\n" for video in videos)
        return {PATHS: hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()}
    return {_named(file, root): hashlib.sha256(file.read_bytes()).hexdigest() for file in _list_files(data, root)}


def joined_lists(before: Mapping[str, Sequence[str]], now: Mapping[str, str]) -> dict[str, list[str]]:
    """What earlier stages were learnt by, and what is read now: an extended run may have several lists of one name."""
    names = dict.fromkeys([*before, *now])
    return {name: list(dict.fromkeys([*before.get(name, ()), *filter(None, [now.get(name)])])) for name in names}


def named_videos(data: DataSettings, *, learnt: Collection[str] = (), skip: SkipList = NOTHING) -> list[Video]:
    """Every video that the lists name and the skip list doesn't, sorted by path, whether or not it is there.

    Of `learnt` classes only the test videos that are there. A motions set that is not written yet names what will be.
    Raises DataError as reading does, but not for missing videos.
    """
    old = frozenset(learnt)
    named = list(_named_videos(data, old))
    skipped = skip.among([video.path for video in named], _videos_folder(data), learnt=old)
    named = [video for video in named if video.path not in skipped]
    return [video for video in named if video.label not in old or (video.split == "test" and video.path.is_file())]


def _videos_folder(data: DataSettings) -> Path:
    root = Path(data.root).expanduser()
    if isinstance(data, FolderData):
        return root
    return root / ("clips" if isinstance(data, MotionsData) else data.videos)


def _named_videos(data: DataSettings, learnt: Collection[str]) -> Iterable[Video]:
    root = Path(data.root).expanduser()
    if isinstance(data, FolderData):
        return read_folder(root, learnt=learnt)
    if isinstance(data, CsvData):
        return list_csv(root / data.file, videos=root / data.videos, train=data.train, test=data.test)
    if not isinstance(data, MotionsData):
        return listed_videos(data)
    counts = {"train_per_class": data.train_per_class, "test_per_class": data.test_per_class}
    if is_written(root, MotionsSettings(**counts, seed=data.seed)):
        filters: dict[str, Filter] = {split: {"split": (split,)} for split in SPLITS}
        return list_csv(root / "clips.csv", videos=root / "clips", **filters)
    planned = (Video(root / "clips" / name, label, split) for name, label, split, _ in clip_names(CLASSES, **counts))
    return sorted(planned, key=lambda video: video.path)


def _list_files(data: DataSettings, root: Path) -> Sequence[Path]:
    if isinstance(data, MotionsData):
        file = root / "clips.csv"
        return [file] if file.is_file() else []
    if isinstance(data, CsvData):
        return [root / data.file]
    assert not isinstance(data, FolderData)
    return read_lists(data).files


def _named(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)
