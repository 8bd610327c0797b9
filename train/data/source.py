"""From a recipe's [data] and [stages] to videos and stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from stpr.runtime.motions import CLASSES
from stpr.train.config import CsvData, DataSettings, FolderData, StageSettings
from stpr.train.data.annotations import Video, read_csv, read_folder
from stpr.train.data.motions import write_motions
from stpr.train.data.stages import Stage, check_videos, explicit_stages, split_stages


def read_videos(data: DataSettings, advance: Callable[[int, int], None]) -> list[Video]:
    """Every train and test video; the motions set is generated first where it is missing."""
    root = Path(data.root).expanduser()
    if isinstance(data, FolderData):
        return read_folder(root)
    if isinstance(data, CsvData):
        return read_csv(root / data.file, videos=root / data.videos, train=data.train, test=data.test)
    total = len(CLASSES) * (data.train_per_class + data.test_per_class)
    write_motions(
        root,
        train_per_class=data.train_per_class,
        test_per_class=data.test_per_class,
        seed=data.seed,
        advance=lambda done: advance(done, total),
    )
    return read_csv(root / "clips.csv", videos=root / "clips", train={"split": ("train",)}, test={"split": ("test",)})


def read_stages(settings: StageSettings, videos: Sequence[Video]) -> list[Stage]:
    """The stages of a recipe over the classes that the videos show."""
    classes = sorted({video.label for video in videos})
    stages = (
        explicit_stages(settings.classes, classes)
        if settings.classes
        else split_stages(classes, settings.sizes, settings.seed)
    )
    check_videos(stages, videos)
    return stages
