"""A CSV list: which rows are chosen, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from stpr.runtime.contract.errors import DataError
from stpr.train.data.source import Learnt, read_lists, read_videos
from stpr.train.datasets.annotations import Video
from stpr.train.datasets.csv_list import CsvList, Filter

BY_SPLIT: dict[str, Filter] = {"train": {"split": ("train",)}, "test": {"split": ("late",)}}


def place(root: Path, *files: str) -> Path:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")  # files that differ
    return root


def write_csv(root: Path, *rows: str, header: str = "path,label,signer,split") -> Path:
    file = root / "clips.csv"
    file.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return file


def read(
    file: Path, videos: Path, filters: Mapping[str, Filter] = BY_SPLIT, *, learnt: Learnt = (), skip: str = ""
) -> list[Video]:
    data = msgspec.structs.replace(CsvList(root=str(videos), file=str(file), videos=".", skip=skip), **filters)
    return read_videos(data, lambda *_: None, learnt).videos


def test_what_is_skipped_need_not_be_there(tmp_path: Path) -> None:
    place(tmp_path, "train/wave/b.mp4", "test/wave/c.mp4")
    file = write_csv(
        tmp_path, "train/wave/b.mp4,wave,tom,train", "gone.mp4,wave,tom,train", "test/wave/c.mp4,wave,tom,late"
    )
    (tmp_path / "skip.txt").write_text("gone.mp4\n", encoding="utf-8")
    assert [video.path.name for video in read(file, tmp_path, skip="skip.txt")] == ["c.mp4", "b.mp4"]


def test_of_learnt_classes_a_csv_gives_what_is_left_to_test(tmp_path: Path) -> None:
    place(tmp_path, "there.mp4", "unread.mp4", "new.mp4", "new_late.mp4")
    file = write_csv(
        tmp_path, "there.mp4,wave,tom,late", "gone.mp4,wave,tom,late", "unread.mp4,wave,jack,train",
        "gone too.mp4,clap,tom,train", "new.mp4,run,tom,train", "new_late.mp4,run,tom,late",
    )  # fmt: skip
    found = read(file, tmp_path, learnt=[("wave", "clap")])
    assert [video.path.name for video in found] == ["new.mp4", "new_late.mp4", "there.mp4"]
    with pytest.raises(DataError, match=r"1 of the 4 videos .*clips\.csv are missing in .*: 'gone too\.mp4'"):
        read(file, tmp_path, learnt=[("wave",)])


def test_a_csv_is_filtered_and_sorted(tmp_path: Path) -> None:
    place(tmp_path, "c.mp4", "a.mp4", "b.mp4", "not_wanted.mp4")
    rows = ("c.mp4,wave,jack,train", "b.mp4,wave,tom,late", 'a.mp4,"clap, twice",jack,train', "gone.mp4,x,jack,other")
    assert read(write_csv(tmp_path, *rows), tmp_path) == [
        Video(tmp_path / "a.mp4", "clap, twice", "train"),
        Video(tmp_path / "b.mp4", "wave", "test"),
        Video(tmp_path / "c.mp4", "wave", "train"),
    ]


def test_filters_hold_together_and_accept_several_values(tmp_path: Path) -> None:
    place(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    file = write_csv(tmp_path, "a.mp4,wave,jack,train", "b.mp4,wave,jack,late", "c.mp4,wave,tom,late")
    filters: dict[str, Filter] = {
        "train": {"signer": ("jack",), "split": ("train", "late")},
        "test": {"signer": ("tom",)},
    }
    found = read(file, tmp_path, filters)
    assert [(video.path.name, video.split) for video in found] == [
        ("a.mp4", "train"),
        ("b.mp4", "train"),
        ("c.mp4", "test"),
    ]


GOOD = ("a.mp4,wave,jack,train", "b.mp4,wave,tom,late")


@pytest.mark.parametrize(
    ("rows", "header", "filters", "message"),
    [
        (GOOD, "path,label,signer,spilt", {}, "no column 'split'; its columns are 'path', 'label', 'signer', 'spilt'"),
        (GOOD, "file,label,signer,split", {}, "no column 'path'"),
        (GOOD, "path,label,signer,split", {"train": {"age": ("3",)}}, "no column 'age'"),
        (
            GOOD,
            "path,label,signer,split",
            {"test": {"split": ("test",)}},
            "no row has split = 'test', .* 'late', 'train'",
        ),
        (
            GOOD,
            "path,label,signer,split",
            {"test": {"split": ("late",), "signer": ("jack",)}},
            r"no row matches the test filter \(split in \['late'\], signer in \['jack'\]\)",
        ),
        (GOOD, "path,label,signer,split", {"test": {"signer": ("jack", "tom")}}, "line 2: a.mp4 is selected for both"),
        (
            (*GOOD, "gone.mp4,wave,tom,late", "also.mp4,wave,tom,late"),
            None,
            {},
            r"2 of the 4 videos .*clips\.csv are missing in .*: 'also\.mp4', 'gone\.mp4'; put",
        ),
        ((*GOOD, "a.mp4,wave,tom,late"), None, {}, "lists a.mp4 twice, on lines 2 and 4"),
        ((*GOOD, "a.mp4,wave"), None, {}, r"line 4: expected 4 values"),
        ((*GOOD, "a.mp4,wave,tom,late,more"), None, {}, r"line 4: expected 4 values"),
        ((*GOOD, "a.mp4,,tom,late"), None, {}, "line 4 has no path or no label"),
        ((), None, {}, "no row has split = 'train'"),
    ],
)
def test_a_csv_with_a_fault_is_refused(
    tmp_path: Path,
    rows: tuple[str, ...],
    header: str | None,
    filters: dict[str, Filter],
    message: str,
) -> None:
    place(tmp_path, "a.mp4", "b.mp4")
    file = write_csv(tmp_path, *rows, header=header or "path,label,signer,split")
    with pytest.raises(DataError, match=message) as caught:
        read(file, tmp_path, {**BY_SPLIT, **filters})
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b'path,label\n"a', b""])
def test_what_is_no_csv_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "clips.csv"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=r"clips\.csv (can't be read as a CSV|has no column)"):
        read(file, tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_what_spreadsheets_export_is_read(tmp_path: Path, encoding: str, mark: str) -> None:
    place(tmp_path, "a.mp4", "b.mp4")
    file = tmp_path / "clips.csv"
    rows = ("path,label,split", "a.mp4,größe,train", "b.mp4,größe,late", "")
    file.write_text("\r\n".join(rows).replace(",", mark), encoding=encoding, newline="")
    assert {video.label for video in read(file, tmp_path)} == {"größe"}


def test_the_columns_that_a_csv_has_are_quoted(tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_text("Path, label\na.mp4,wave\n")
    with pytest.raises(DataError, match=r"has no column 'path'; its columns are 'Path', ' label'\."):
        read(tmp_path / "clips.csv", tmp_path)


@pytest.mark.parametrize(
    ("train", "test", "counts"),
    [
        ({"split": ("train",)}, {"split": ("test_public",)}, (814, 437)),
        ({"signer": ("jack",)}, {"signer": ("tom",)}, (915, 336)),
    ],
)
def test_the_two_protocols_of_asl24(shared_data: Path, train: Filter, test: Filter, counts: tuple[int, int]) -> None:
    found = read_lists(CsvList(root=str(shared_data / "asl24"), train=train, test=test)).videos
    assert tuple(sum(video.split == split for video in found) for split in ("train", "test")) == counts
    assert len({video.label for video in found}) == 24


def test_a_video_under_two_spellings_is_listed_twice(tmp_path: Path) -> None:
    place(tmp_path, "a.mp4", "x/b.mp4")
    file = write_csv(tmp_path, "a.mp4,wave,tom,train", "x/../a.mp4,wave,tom,late")
    with pytest.raises(DataError, match=r"lists x/\.\./a\.mp4 twice, on lines 2 and 3; keep one"):
        read(file, tmp_path)


def test_the_backslashes_of_windows_are_named(tmp_path: Path) -> None:
    place(tmp_path, "x/a.mp4")
    file = write_csv(tmp_path, r"x\a.mp4,wave,tom,train", "x/a.mp4,wave,tom,late")
    with pytest.raises(DataError, match=r"line 2: x\\a\.mp4 has backslashes; write paths with /"):
        read(file, tmp_path)
