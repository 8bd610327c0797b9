"""Which video shows which class, and whether it is for training or for testing. Nothing here opens a video."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from stpr.runtime.contract.errors import DataError
from stpr.train.datasets.skip_list import NOTHING, SkipList

Split: TypeAlias = Literal["train", "test"]
Filter: TypeAlias = Mapping[str, tuple[str, ...]]  # column -> accepted values; a row must satisfy every column

SPLITS: Final[tuple[Split, Split]] = ("train", "test")
VIDEO_SUFFIXES: Final = frozenset(
    {".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"}
)


@dataclass(frozen=True, slots=True)
class Video:
    """One annotated video file."""

    path: Path
    label: str
    split: Split


def read_folder(root: Path, *, learnt: Collection[str] = (), skip: SkipList = NOTHING) -> list[Video]:
    """The videos of `root/train/<class>/` and `root/test/<class>/`, sorted by path.

    Of `learnt` classes only what is left to test is read. Raises DataError for a missing folder, a class folder
    without videos, and anything that would be left out in silence.
    """
    if not root.is_dir():
        raise DataError(f"there is no data set at {root}: no such folder; name another with --data DIR.")
    return _kept([video for split in SPLITS for video in _read_split(root / split, split, learnt)], root, learnt, skip)


def _read_split(folder: Path, split: Split, learnt: Collection[str]) -> list[Video]:
    if not folder.is_dir():
        raise DataError(f"{folder.parent} has no folder {split}/; put each class's videos into {split}/<class>/.")
    entries = _visible(folder)
    if not entries:
        raise DataError(f"{folder} is empty; put each class's videos into {split}/<class>/.")
    stray = [entry for entry in entries if not entry.is_dir()]
    if stray:
        raise DataError(f"{stray[0]} lies in no class folder; move it into {folder}/<class>/ or remove it.")
    wanted = [entry for entry in entries if entry.name not in learnt or (split == "test" and _visible(entry))]
    return [Video(path, entry.name, split) for entry in wanted for path in _class_videos(entry)]


def _class_videos(folder: Path) -> list[Path]:
    entries = _visible(folder)
    if not entries:
        raise DataError(f"the class folder {folder} is empty; add videos or remove the folder.")
    nested = [entry for entry in entries if entry.is_dir()]
    if nested:
        raise DataError(f"{nested[0]} is a folder inside a class folder; move its videos up into {folder}.")
    videos = [entry for entry in entries if entry.suffix.lower() in VIDEO_SUFFIXES]
    if not videos:
        found = ", ".join(sorted({entry.suffix.lower() or "no suffix" for entry in entries}))
        known = ", ".join(sorted(VIDEO_SUFFIXES))
        raise DataError(f"the class folder {folder} has no video, only files with {found}; known are {known}.")
    return videos


def _visible(folder: Path) -> list[Path]:
    """Desktops leave hidden files such as .DS_Store behind."""
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def read_csv(
    file: Path,
    *,
    videos: Path,
    train: Filter,
    test: Filter,
    learnt: Collection[str] = (),
    skip: SkipList = NOTHING,
) -> list[Video]:
    """The videos that `list_csv` gives, all of them there; of `learnt` classes the test videos that are still there.

    Raises DataError as `list_csv` does, and for a video that is missing.
    """
    found = _kept(list_csv(file, videos=videos, train=train, test=test), videos, learnt, skip)
    found = [video for video in found if video.label not in learnt or (video.split == "test" and video.path.is_file())]
    _check_files([video.path for video in found], file)
    return found


def list_csv(file: Path, *, videos: Path, train: Filter, test: Filter) -> list[Video]:
    """The rows that `train` and `test` select of a CSV with the columns path and label, sorted by path.

    Paths are relative to `videos`; rows that neither selects are left out. Raises DataError for what can't be read, a
    filter that fits no row, a video that is listed twice, or selected for both training and testing.
    """
    rows = _read_rows(file, needed=["path", "label", *train, *test])
    chosen = {"train": _select(rows, train, file, "train"), "test": _select(rows, test, file, "test")}
    both = sorted(chosen["train"].keys() & chosen["test"].keys())
    if both:
        raise DataError(
            f"{file}, line {both[0]}: {rows[both[0]]['path']} is selected for both training and testing"
            f" ({len(both)} such rows); make the filters exclude each other."
        )
    found: list[Video] = []
    lines: dict[Path, int] = {}
    for split in SPLITS:
        for line, row in chosen[split].items():
            path = videos / row["path"]
            if path in lines:
                raise DataError(f"{file} lists {row['path']} twice, on lines {lines[path]} and {line}; keep one.")
            lines[path] = line
            found.append(Video(path, row["label"], split))
    return sorted(found, key=lambda video: video.path)


def _read_rows(file: Path, *, needed: Iterable[str]) -> dict[int, dict[str, str]]:
    """Line number -> row; every row has a value (perhaps empty) for every column."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, strict=True)
            rows = dict(_numbered(reader))
            columns = list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} can't be read as a CSV in UTF-8 ({error}); mend it or name another.") from error
    for column in needed:
        if column not in columns:
            raise DataError(f"{file} has no column {column!r}; its columns are {', '.join(columns) or 'none'}.")
    for line, row in rows.items():
        if None in row or None in row.values():
            raise DataError(
                f"{file}, line {line}: expected {len(columns)} values ({', '.join(columns)}); mend the row."
            )
        if not row["path"] or not row["label"]:
            raise DataError(f"{file}, line {line} has no path or no label; fill it in or remove the row.")
    return rows


def _numbered(reader: csv.DictReader[str]) -> Iterator[tuple[int, dict[str, str]]]:
    for row in reader:
        yield reader.line_num, row


def _select(rows: Mapping[int, dict[str, str]], wanted: Filter, file: Path, split: Split) -> dict[int, dict[str, str]]:
    for column, values in wanted.items():
        present = {row[column] for row in rows.values()}
        for value in values:
            if value not in present:
                raise DataError(
                    f"{file}: no row has {column} = {value!r}, which the {split} filter asks for;"
                    f" the column holds {some(sorted(present))}."
                )
    chosen = {
        line: row for line, row in rows.items() if all(row[column] in values for column, values in wanted.items())
    }
    if not chosen:
        asked = ", ".join(f"{column} in {list(values)}" for column, values in wanted.items()) or "any row"
        raise DataError(f"{file}: no row satisfies the {split} filter ({asked}); loosen it.")
    return chosen


def _check_files(paths: Sequence[Path], file: Path) -> None:
    missing = sorted(path for path in paths if not path.is_file())
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(paths)} videos that {file} lists are missing, first {missing[0]};"
            " copy them there, correct the folder of the videos, or put them on the skip list ([data] skip)."
        )


def _kept(videos: Iterable[Video], folder: Path, learnt: Collection[str], skip: SkipList) -> list[Video]:
    """The videos that are not on the skip list, sorted by path."""
    found = sorted(videos, key=lambda video: video.path)
    skipped = skip.among([video.path for video in found], folder, learnt=learnt)
    return [video for video in found if video.path not in skipped]


def some(names: Sequence[str]) -> str:
    """The first names, quoted, and how many more there are: for errors."""
    shown = ", ".join(repr(name) for name in names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")
