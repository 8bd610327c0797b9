"""The list files of the benchmarks, as their authors hand them out. Nothing here looks at a video."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from stpr.runtime.contract.errors import DataError
from stpr.train.datasets.annotations import SPLITS, Split, some

Row: TypeAlias = tuple[str, str, Split]  # path below the folder of the videos, class, split
Decoded = TypeVar("Decoded")

HMDB51_CLASSES: Final = 51
UCF101_HINT: Final = (
    "the lists of UCF101TrainTestSplits-RecognitionTask.zip from the UCF101 page belong there, or correct [data] lists"
)
HMDB51_HINT: Final = (
    "testTrainMulti_7030_splits of test_train_splits.rar from the HMDB51 page belongs there, or a folder with"
    " hmdb51_trainlist0N.txt and hmdb51_testlist0N.txt; else correct [data] lists"
)
SSV2_HINT: Final = (
    "the labels archive of Something-Something V2 (labels.json, train.json, validation.json) belongs there, or a folder"
    " with category.txt, ssv2_train.txt and ssv2_val.txt; else correct [data] lists"
)
KINETICS_HINT: Final = (
    "the Kinetics-400 annotations belong there (columns label, youtube_id, time_start, time_end, and the class names in"
    " lines of ID NAME), or correct [data] train, test and classes"
)
VCLIMB_HINT: Final = (
    "the task list of the vCLIMB benchmark belongs there, its pickle (data/UCF101_data.pkl or UCF101_data_20tasks.pkl)"
    " rewritten as JSON, or correct [data] file"
)


@dataclass(frozen=True, slots=True)
class Listed:
    """What lists say: the classes by label id, every video, and the stages where the benchmark fixes them."""

    classes: tuple[str, ...]
    rows: list[Row]
    files: tuple[Path, ...]  # that were read
    tasks: tuple[tuple[str, ...], ...] = ()


class _Form(NamedTuple):
    pattern: str
    shown: str  # for errors


NAMED_ID: Final = _Form(r"(\d+) (.+)", "ID NAME")


def read_ucf101(folder: Path, split: int) -> Listed:
    """`classInd.txt`, `trainlist0N.txt` and `testlist0N.txt`; raises DataError for a missing or broken list."""
    index = folder / "classInd.txt"
    classes = _by_id({int(number): name for number, name in _rows(index, NAMED_ID, UCF101_HINT)}, 1, index)
    forms = {
        "train": _Form(r"((.+)/.+\.avi) (\d+)", "CLASS/VIDEO.avi ID"),
        "test": _Form(r"((.+)/.+\.avi)", "CLASS/VIDEO.avi"),
    }
    files = {part: folder / f"{part}list{split:02d}.txt" for part in SPLITS}
    rows: list[Row] = []
    for part, file in files.items():
        for path, label, *number in _rows(file, forms[part], UCF101_HINT):
            _check_class(label, classes, file)
            if number and classes.index(label) + 1 != int(number[0]):
                raise DataError(
                    f"{file} gives {path} the label {number[0]}, {index} another; take both from one source."
                )
            rows.append((path, label, part))
    return Listed(classes, rows, (index, *files.values()))


def read_hmdb51(folder: Path, split: int) -> Listed:
    """The official file per class, or one list per split; label ids are those of the lists, the sorted names.

    A `ClassInd.txt` beside the lists is ignored: its order is not that of their label ids.
    """
    if (folder / f"hmdb51_trainlist{split:02d}.txt").is_file():
        return _hmdb51_by_split(folder, split)
    ending = f"_test_split{split}.txt"
    files = {file.name.removesuffix(ending): file for file in folder.glob(f"*{ending}")}
    if len(files) != HMDB51_CLASSES:
        raise DataError(f"{folder} has *{ending} of {len(files)} classes, not of {HMDB51_CLASSES}; {HMDB51_HINT}.")
    form = _Form(r"(.+\.avi) ([012])", "VIDEO.avi 0, 1 or 2")
    parts: dict[str, Split] = {"1": "train", "2": "test"}  # 0: in neither
    rows = [
        (f"{label}/{name}", label, parts[use])
        for label, file in files.items()
        for name, use in _rows(file, form, HMDB51_HINT)
        if use in parts
    ]
    return Listed(tuple(sorted(files)), rows, tuple(files[label] for label in sorted(files)))


def _hmdb51_by_split(folder: Path, split: int) -> Listed:
    form = _Form(r"\d+\t(\d+)\t((.+)/.+\.avi)", "NUMBER ID CLASS/VIDEO.avi, parted by tabs")
    files = {part: folder / f"hmdb51_{part}list{split:02d}.txt" for part in SPLITS}
    ids: dict[int, str] = {}
    rows: list[Row] = []
    for part, file in files.items():
        for number, path, label in _rows(file, form, HMDB51_HINT):
            if ids.setdefault(int(number), label) != label:
                raise DataError(
                    f"{file}: the label {number} is both {ids[int(number)]!r} and {label!r}; mend the list."
                )
            rows.append((path, label, part))
    return Listed(_by_id(ids, 0, folder), rows, tuple(files.values()))


def read_ssv2(folder: Path) -> Listed:
    """The official `labels.json`, `train.json`, `validation.json`, or `category.txt`, `ssv2_{train,val}.txt`."""
    if (folder / "ssv2_train.txt").is_file():
        return _ssv2_by_id(folder)
    index = folder / "labels.json"
    ids = _decoded(index, dict[str, int], SSV2_HINT)
    classes = _by_id({number: name for name, number in ids.items()}, 0, index)
    files = dict(zip(SPLITS, (folder / "train.json", folder / "validation.json"), strict=True))
    rows: list[Row] = []
    for part, file in files.items():
        for video in _decoded(file, list[_Ssv2Video], SSV2_HINT):
            label = video.template.replace("[", "").replace("]", "")
            _check_class(label, ids, file)
            rows.append((f"{video.id}.webm", label, part))
    return Listed(classes, rows, (index, *files.values()))


class _Ssv2Video(msgspec.Struct, frozen=True):
    id: str
    template: str


def _ssv2_by_id(folder: Path) -> Listed:
    index = folder / "category.txt"
    classes = tuple(name for (name,) in _rows(index, _Form("(.+)", "NAME"), SSV2_HINT))
    files = dict(zip(SPLITS, (folder / "ssv2_train.txt", folder / "ssv2_val.txt"), strict=True))
    rows: list[Row] = []
    for part, file in files.items():
        for path, number in _rows(file, _Form(r"(\S+\.webm) (\d+)", "VIDEO.webm ID"), SSV2_HINT):
            if int(number) >= len(classes):
                raise DataError(f"{file}: {path} has the label {number}, but {index} ends at {len(classes) - 1}.")
            rows.append((path, classes[int(number)], part))
    return Listed(classes, rows, (index, *files.values()))


def read_kinetics400(names: Path, files: Mapping[Split, Path]) -> Listed:
    """The annotation CSV of each split; a video is `<class>/<youtube id>_<start>_<end>.mp4`, six digits each."""
    classes = _by_id({int(number): name for number, name in _rows(names, NAMED_ID, KINETICS_HINT)}, 1, names)
    known = frozenset(classes)
    rows: list[Row] = []
    for part, file in files.items():
        reader = csv.DictReader(io.StringIO(_text(file, KINETICS_HINT), newline=""))
        for row in reader:
            try:
                start, end = int(row["time_start"]), int(row["time_end"])
                label, video = row["label"], row["youtube_id"]
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"{file}, line {reader.line_num} is not an annotation; {KINETICS_HINT}.") from error
            _check_class(label, known, file)
            rows.append((f"{label}/{video}_{start:06d}_{end:06d}.mp4", label, part))
    return Listed(classes, rows, (names, *files.values()))


def read_vclimb(file: Path) -> Listed:
    """A vCLIMB task list of UCF101 as JSON: split -> tasks -> class -> video ids; its `val` is left out.

    The ids were parted at random: videos of one group (one person, one scene) are in train and in test.
    """
    lists = _decoded(file, _VclimbTasks, VCLIMB_HINT)
    tasks = tuple(tuple(task) for task in lists.train)
    if [set(task) for task in lists.test] != [set(task) for task in tasks]:
        raise DataError(f"{file}: the tasks of train and test have different classes; {VCLIMB_HINT}.")
    parts: list[tuple[Split, list[dict[str, list[str]]]]] = [("train", lists.train), ("test", lists.test)]
    rows = [
        (f"{label}/{video}.avi", label, part)
        for part, listed in parts
        for task in listed
        for label, videos in task.items()
        for video in videos
    ]
    return Listed(tuple(name for task in tasks for name in task), rows, (file,), tasks)


class _VclimbTasks(msgspec.Struct, frozen=True):
    train: list[dict[str, list[str]]]
    test: list[dict[str, list[str]]]


def _rows(file: Path, form: _Form, hint: str) -> list[tuple[str, ...]]:
    """The parts of each line that is not blank."""
    rows: list[tuple[str, ...]] = []
    for number, line in enumerate(_text(file, hint).splitlines(), start=1):
        if not line.strip():
            continue
        parted = re.fullmatch(form.pattern, line.rstrip())
        if parted is None:
            raise DataError(f"{file}, line {number}: {line!r} is not {form.shown}; {hint}.")
        rows.append(tuple(map(str, parted.groups())))
    return rows


def _text(file: Path, hint: str) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{file} is missing: {hint}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} can't be read ({error}): {hint}.") from error


def _decoded(file: Path, kind: type[Decoded], hint: str) -> Decoded:
    try:
        return msgspec.json.decode(_text(file, hint), type=kind, strict=False)
    except msgspec.DecodeError as error:
        raise DataError(f"{file} is not what was expected ({error}): {hint}.") from error


def _by_id(names: Mapping[int, str], first: int, where: Path) -> tuple[str, ...]:
    """The names in the order of their ids, which must count up from `first` without a gap."""
    if sorted(names) != list(range(first, first + len(names))):
        raise DataError(f"the label ids of {where} don't count up from {first} to {first + len(names) - 1}; mend them.")
    return tuple(names[number] for number in sorted(names))


def _check_class(name: str, known: Collection[str], file: Path) -> None:
    if name not in known:
        raise DataError(f"{file} names the class {name!r}, which the list of classes lacks: {some(sorted(known))}.")
