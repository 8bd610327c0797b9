"""A data set that is listed in a CSV file."""

from __future__ import annotations

import codecs
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
    """A CSV file with the columns path and label; `train` and `test` select rows by the values of any columns."""

    file: str = "clips.csv"
    videos: str = "clips"
    train: Filter = msgspec.field(default_factory=lambda: {"split": ("train",)})
    test: Filter = msgspec.field(default_factory=lambda: {"split": ("test",)})

    def listed(self) -> Listed:
        """Return the rows that `train` and `test` select; other rows are ignored.

        Raises DataError for an unreadable file, a filter that matches no row, and a video that is listed twice or
        selected for both splits.
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
                    raise DataError(f"{file}, line {line}: {row['path']} has backslashes; write paths with /.")
                if whole in lines:
                    raise DataError(f"{file} lists {row['path']} twice, on lines {lines[whole]} and {line}; keep one.")
                lines[whole] = line
                videos.append(Video(path, row["label"], split))
        return Listed(folder, videos, (file,))


def write_list(file: Path, videos: Iterable[Video]) -> None:
    """Write a CSV file for `CsvList`, atomically; raises OSError."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "label", "split"])
    rows.writerows([video.path, video.label, video.split] for video in videos)
    write_file(file, text.getvalue().encode())


def _read_rows(file: Path, *, needed: Iterable[str]) -> Rows:
    """Read the rows, as spreadsheets write them too: in UTF-16, separated by semicolons or tabs."""
    try:
        content = file.read_bytes()
        text = content.decode("utf-16" if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig")
        mark = next((mark for mark in ",;\t" if mark in text.partition("\n")[0]), ",")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=mark)
        rows = dict(_numbered(reader))
        columns = list(reader.fieldnames or ())
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"{file} can't be read as a CSV in UTF-8 ({error}); fix it or name another file.") from error
    for column in needed:
        if column not in columns:
            raise DataError(f"{file} has no column {column!r}; its columns are {some(columns) or 'none'}.")
    for line, row in rows.items():
        if None in row or None in row.values():
            raise DataError(f"{file}, line {line}: expected {len(columns)} values ({', '.join(columns)}); fix the row.")
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
                    f"{file}: no row has {column} = {value!r}, which the {split} filter requires;"
                    f" the column has {some(sorted(present))}."
                )
    chosen = {
        line: row for line, row in rows.items() if all(row[column] in values for column, values in wanted.items())
    }
    if not chosen:
        conditions = ", ".join(f"{column} in {list(values)}" for column, values in wanted.items()) or "any row"
        raise DataError(f"{file}: no row matches the {split} filter ({conditions}); relax it.")
    return chosen
