"""[data]: which videos, and where they are."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from stpr.train.settings.bounds import Count
from stpr.train.settings.section import Section

# `skip` is a list of videos to leave out: a file relative to `root`, as are all files and folders of [data].


class MotionsData(Section, tag_field="kind", tag="motions", frozen=True):
    """The embedded set, generated into `root` when it is not there yet."""

    root: str = "data/motions"
    train_per_class: Count = 100
    test_per_class: Count = 40
    seed: int = 0
    skip: str = ""


class FolderData(Section, tag_field="kind", tag="folder", frozen=True):
    """`root/train/<class>/<video>` and `root/test/<class>/<video>`."""

    root: str
    skip: str = ""


class CsvData(Section, tag_field="kind", tag="csv", frozen=True):
    """A list with the columns path and label; `train` and `test` choose rows by the values of any columns."""

    root: str
    file: str = "clips.csv"
    videos: str = "clips"
    skip: str = ""
    train: dict[str, tuple[str, ...]] = msgspec.field(default_factory=lambda: {"split": ("train",)})
    test: dict[str, tuple[str, ...]] = msgspec.field(default_factory=lambda: {"split": ("test",)})


SplitNumber: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=3)]


class _Benchmark(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Folders and files are relative to `root`."""

    root: str
    videos: str = "videos"
    skip: str = ""


class Ucf101Data(_Benchmark, tag_field="kind", tag="ucf101", frozen=True):
    """UCF101: `<videos>/<class>/<v_*.avi>`, and the three official splits in `lists`."""

    lists: str = "ucfTrainTestlist"
    split: SplitNumber = 1


class Hmdb51Data(_Benchmark, tag_field="kind", tag="hmdb51", frozen=True):
    """HMDB51: `<videos>/<class>/<*.avi>`, and the three official splits in `lists`."""

    lists: str = "testTrainMulti_7030_splits"
    split: SplitNumber = 1


class Ssv2Data(_Benchmark, tag_field="kind", tag="ssv2", frozen=True):
    """Something-Something V2: `<videos>/<id>.webm`; tested on its validation list, whose labels are public."""

    lists: str = "labels"


class Kinetics400Data(_Benchmark, tag_field="kind", tag="kinetics400", frozen=True):
    """Kinetics-400: `<videos>/<class>/<youtube id>_<start>_<end>.mp4`; tested on its validation list."""

    classes: str = "kinetics_label_map.txt"
    train: str = "train.csv"
    test: str = "val.csv"


class VclimbData(_Benchmark, tag_field="kind", tag="vclimb", frozen=True):
    """UCF101 by a vCLIMB task list, which also fixes the stages; its numbers are not comparable with `ucf101`."""

    file: str = "UCF101_data.json"


BenchmarkData: TypeAlias = Ucf101Data | Hmdb51Data | Ssv2Data | Kinetics400Data | VclimbData


DataSettings: TypeAlias = MotionsData | FolderData | CsvData | BenchmarkData
