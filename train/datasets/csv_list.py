"""A CSV list of videos, as a spreadsheet exports it."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import msgspec

from stpr.runtime.contract.durable import write_file
from stpr.runtime.contract.errors import DataError
from stpr.train.datasets.annotations import SPLITS, Split, Video, some
from stpr.train.datasets.dataset import Dataset, Listed

Filter: TypeAlias = dict[str, tuple[str, ...]]  # column -> accepted values; a row must satisfy every column
Rows: TypeAlias = Mapping[int, dict[str, str]]  # line number -> row; a value (perhaps empty) for every column


class CsvList(Dataset, tag="csv", frozen=True, kw_only=True):
    """A list with the columns path and label; `train` and `test` choose rows by the values of any columns."""

    file: str = "clips.csv"
    videos: str = "clips"
    train: Filter = msgspec.field(default_factory=lambda: {"split": ("train",)})
    test: Filter = msgspec.field(default_factory=lambda: {"split": ("test",)})

    def listed(self) -> Listed:
        """The rows that `train` and `test` select; rows that neither selects are left out.

        Raises DataError for what can't be read, a filter that fits no row, a video that is listed twice, or selected
        for both training and testing.
        """
        file, folder = self.path(self.file), self.path(self.videos)
        rows = _read_rows(file, needed=["path", "label", *self.train, *self.test])
        chosen: dict[Split, Rows] = {
            "train": _select(rows, self.train, file, "train"),
            "test": _select(rows, self.test, file, "test"),
        }
        both = sorted(chosen["train"].keys() & chosen["test"].keys())
        if both:
            raise DataError(
                f"{file}, line {both[0]}: {rows[both[0]]['path']} is selected for both training and testing"
                f" ({len(both)} such rows); make the filters exclude each other."
            )
        lines: dict[str, int] = {}
        videos: list[Video] = []
        for split in SPLITS:
            for line, row in chosen[split].items():
                path = folder / row["path"]
                whole = os.path.normpath(path)  # a/../b.mp4 is b.mp4
                if "\\" in row["path"] and not path.is_file():
                    raise DataError(
                        f"{file}, line {line}: {row['path']} has the backslashes of Windows; write paths with /."
                    )
                if whole in lines:
                    raise DataError(f"{file} lists {row['path']} twice, on lines {lines[whole]} and {line}; keep one.")
                lines[whole] = line
                videos.append(Video(path, row["label"], split))
        return Listed(folder, videos, (file,))


def write_list(file: Path, videos: Iterable[Video]) -> None:
    """Write a list that a CsvList reads again, whole or not at all; raises OSError if it can't be written."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "label", "split"])
    rows.writerows([video.path, video.label, video.split] for video in videos)
    write_file(file, text.getvalue().encode())


def _read_rows(file: Path, *, needed: Iterable[str]) -> Rows:
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


def _select(rows: Rows, wanted: Filter, file: Path, split: Split) -> Rows:
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
