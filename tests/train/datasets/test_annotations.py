from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from stpr.runtime.contract.errors import DataError
from stpr.train.datasets.annotations import VIDEO_SUFFIXES, Video, read_csv, read_folder
from stpr.train.datasets.skip_list import NOTHING, SkipList

BY_SPLIT: dict[str, Mapping[str, tuple[str, ...]]] = {"train": {"split": ("train",)}, "test": {"split": ("late",)}}


def place(root: Path, *files: str) -> Path:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def write_csv(root: Path, *rows: str, header: str = "path,label,signer,split") -> Path:
    file = root / "clips.csv"
    file.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return file


def read(
    file: Path,
    videos: Path,
    filters: Mapping[str, Mapping[str, tuple[str, ...]]] = BY_SPLIT,
    *,
    learnt: Collection[str] = (),
    skip: SkipList = NOTHING,
) -> list[Video]:
    return read_csv(file, videos=videos, train=filters["train"], test=filters["test"], learnt=learnt, skip=skip)


def test_a_folder_per_class_is_read_in_the_order_of_the_paths(tmp_path: Path) -> None:
    place(tmp_path, "train/wave/b.MP4", "train/wave/a.avi", "train/clap/c.webm", "test/wave/d.mp4", "train/.DS_Store")
    place(tmp_path, "train/wave/notes.txt", "test/wave/.hidden")
    assert read_folder(tmp_path) == [
        Video(tmp_path / "test/wave/d.mp4", "wave", "test"),
        Video(tmp_path / "train/clap/c.webm", "clap", "train"),
        Video(tmp_path / "train/wave/a.avi", "wave", "train"),
        Video(tmp_path / "train/wave/b.MP4", "wave", "train"),
    ]


@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES))
def test_every_known_suffix_is_a_video(tmp_path: Path, suffix: str) -> None:
    place(tmp_path, f"train/wave/a{suffix}", f"test/wave/b{suffix}")
    assert len(read_folder(tmp_path)) == 2


@pytest.mark.parametrize(
    ("files", "folders", "message"),
    [
        ((), (), "no folder train/"),
        (("train/wave/a.mp4",), (), "no folder test/"),
        ((), ("train", "test"), "train is empty; put each class's videos"),
        (("train/wave/a.mp4", "test/wave/a.mp4"), ("train/clap",), "class folder .*train/clap is empty"),
        (("train/wave/a.mp4", "train/b.mp4", "test/wave/a.mp4"), (), "train/b.mp4 lies in no class folder"),
        (("train/wave/x/a.mp4", "train/wave/b.mp4", "test/wave/a.mp4"), (), "wave/x is a folder inside a class folder"),
        (("train/wave/a.txt", "train/wave/b.JPG", "test/wave/a.mp4"), (), r"wave has no video, .* \.jpg, \.txt; known"),
        (("train/wave/a", "test/wave/a.mp4"), (), "only files with no suffix"),
    ],
)
def test_a_folder_with_a_fault_is_refused(
    tmp_path: Path, files: tuple[str, ...], folders: tuple[str, ...], message: str
) -> None:
    place(tmp_path, *files)
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    with pytest.raises(DataError, match=message) as caught:
        read_folder(tmp_path)
    assert "\n" not in caught.value.message


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(f"no data set at {tmp_path / 'gone'}")):
        read_folder(tmp_path / "gone")


def test_of_learnt_classes_a_folder_gives_what_is_left_to_test(tmp_path: Path) -> None:
    place(tmp_path, "train/wave/a.mp4", "test/wave/b.mp4", "test/jump/c.mp4", "train/run/d.mp4", "test/run/e.mp4")
    place(tmp_path, "train/jump/notes.txt", "test/clap/.hidden")
    (tmp_path / "train" / "clap").mkdir()
    assert [(video.label, video.split) for video in read_folder(tmp_path, learnt={"wave", "clap", "jump"})] == [
        ("jump", "test"),
        ("run", "test"),
        ("wave", "test"),
        ("run", "train"),
    ]
    with pytest.raises(DataError, match="clap is empty"):
        read_folder(tmp_path, learnt={"wave", "jump"})


def test_what_is_skipped_need_not_be_there(tmp_path: Path) -> None:
    place(tmp_path, "train/wave/a.mp4", "train/wave/b.mp4", "test/wave/c.mp4")
    skip = SkipList(tmp_path / "skip.txt", {"train/wave/a.mp4": 1})
    assert [video.path.name for video in read_folder(tmp_path, skip=skip)] == ["c.mp4", "b.mp4"]
    file = write_csv(
        tmp_path, "train/wave/b.mp4,wave,tom,train", "gone.mp4,wave,tom,train", "test/wave/c.mp4,wave,tom,late"
    )
    skip = SkipList(tmp_path / "skip.txt", {"gone.mp4": 3})
    assert [video.path.name for video in read(file, tmp_path, skip=skip)] == ["c.mp4", "b.mp4"]


def test_of_learnt_classes_a_csv_gives_what_is_left_to_test(tmp_path: Path) -> None:
    place(tmp_path, "there.mp4", "unread.mp4", "new.mp4", "new_late.mp4")
    file = write_csv(
        tmp_path, "there.mp4,wave,tom,late", "gone.mp4,wave,tom,late", "unread.mp4,wave,jack,train",
        "gone too.mp4,clap,tom,train", "new.mp4,run,tom,train", "new_late.mp4,run,tom,late",
    )  # fmt: skip
    found = read(file, tmp_path, learnt={"wave", "clap"})
    assert [video.path.name for video in found] == ["new.mp4", "new_late.mp4", "there.mp4"]
    with pytest.raises(DataError, match=r"1 of the 4 videos .* missing, first .*gone too\.mp4"):
        read(file, tmp_path, learnt={"wave"})


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
    found = read_csv(
        file, videos=tmp_path, train={"signer": ("jack",), "split": ("train", "late")}, test={"signer": ("tom",)}
    )
    assert [(video.path.name, video.split) for video in found] == [
        ("a.mp4", "train"),
        ("b.mp4", "train"),
        ("c.mp4", "test"),
    ]


GOOD = ("a.mp4,wave,jack,train", "b.mp4,wave,tom,late")


@pytest.mark.parametrize(
    ("rows", "header", "filters", "message"),
    [
        (GOOD, "path,label,signer,spilt", {}, "no column 'split'; its columns are path, label, signer, spilt"),
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
            r"no row satisfies the test filter \(split in \['late'\], signer in \['jack'\]\)",
        ),
        (GOOD, "path,label,signer,split", {"test": {"signer": ("jack", "tom")}}, "line 2: a.mp4 is selected for both"),
        (
            (*GOOD, "gone.mp4,wave,tom,late", "also.mp4,wave,tom,late"),
            None,
            {},
            "2 of the 4 videos .* first .*also.mp4",
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
    filters: dict[str, Mapping[str, tuple[str, ...]]],
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


def test_a_spreadsheet_export_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    place(tmp_path, "a.mp4", "b.mp4")
    file = tmp_path / "clips.csv"
    file.write_text("path,label,split\r\na.mp4,wave,train\r\nb.mp4,wave,late\r\n", encoding="utf-8-sig")
    assert len(read(file, tmp_path)) == 2


@pytest.mark.parametrize(
    ("train", "test", "counts"),
    [
        ({"split": ("train",)}, {"split": ("test_public",)}, (814, 437)),
        ({"signer": ("jack",)}, {"signer": ("tom",)}, (915, 336)),
    ],
)
def test_the_two_protocols_of_asl24(
    shared_data: Path, train: dict[str, tuple[str, ...]], test: dict[str, tuple[str, ...]], counts: tuple[int, int]
) -> None:
    folder = shared_data / "asl24"
    found = read_csv(folder / "clips.csv", videos=folder / "clips", train=train, test=test)
    assert tuple(sum(video.split == split for video in found) for split in ("train", "test")) == counts
    assert len({video.label for video in found}) == 24
