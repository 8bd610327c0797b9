"""A folder per class: what is a video, and what is refused."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from stpr.runtime.contract.errors import DataError
from stpr.train.data.source import read_lists
from stpr.train.datasets.annotations import Video
from stpr.train.datasets.folder import VIDEO_SUFFIXES, Folder
from stpr.train.datasets.skip_list import SkipList


def place(root: Path, *files: str) -> Folder:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Folder(root=str(root))


def test_a_folder_per_class_is_read_in_the_order_of_the_paths(tmp_path: Path) -> None:
    place(tmp_path, "train/wave/b.MP4", "train/wave/a.avi", "train/clap/c.webm", "test/wave/d.mp4", "train/.DS_Store")
    data = place(tmp_path, "train/wave/notes.txt", "test/wave/.hidden", "train/wave hi/e.mp4")
    listed = read_lists(data)
    assert listed.videos == [
        Video(tmp_path / "test/wave/d.mp4", "wave", "test"),
        Video(tmp_path / "train/clap/c.webm", "clap", "train"),
        Video(tmp_path / "train/wave/a.avi", "wave", "train"),
        Video(tmp_path / "train/wave/b.MP4", "wave", "train"),
        Video(tmp_path / "train/wave hi/e.mp4", "wave hi", "train"),  # folder by folder, not letter by letter
    ]
    assert (listed.files, listed.classes, listed.stages) == ((), (), ())


@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES))
def test_every_known_suffix_is_a_video(tmp_path: Path, suffix: str) -> None:
    assert len(place(tmp_path, f"train/wave/a{suffix}", f"test/wave/b{suffix}").listed().videos) == 2


@pytest.mark.parametrize(
    ("files", "folders", "message"),
    [
        ((), (), "no folder train/"),
        (("train/wave/a.mp4",), (), "no folder test/"),
        ((), ("train", "test"), "train is empty; put each class's videos"),
        (("train/wave/a.mp4", "test/wave/a.mp4"), ("train/clap",), "class folder .*train/clap is empty"),
        (("train/wave/a.mp4", "test/wave/a.mp4"), ("test/clap",), "class folder .*test/clap is empty"),
        (("train/wave/a.mp4", "train/b.mp4", "test/wave/a.mp4"), (), "train/b.mp4 is not in a class folder"),
        (("train/wave/x/a.mp4", "train/wave/b.mp4", "test/wave/a.mp4"), (), "wave/x is a folder inside a class folder"),
        (
            ("train/wave/a.txt", "train/wave/b.JPG", "test/wave/a.mp4"),
            (),
            r"wave has no video, .* \.jpg, \.txt; video",
        ),
        (("train/wave/a", "test/wave/a.mp4"), (), "only files with no suffix"),
    ],
)
def test_a_folder_with_a_fault_is_refused(
    tmp_path: Path, files: tuple[str, ...], folders: tuple[str, ...], message: str
) -> None:
    data = place(tmp_path, *files)
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    with pytest.raises(DataError, match=message) as caught:
        read_lists(data)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("name", [b"caf\xe9/a.mp4", b"wave/\xe9.mp4"])
def test_a_name_that_is_not_utf8_is_told(tmp_path: Path, name: bytes) -> None:
    data = place(tmp_path, "train/wave/a.mp4", "test/wave/a.mp4", os.fsdecode(b"train/" + name))
    with pytest.raises(DataError, match=r"the path /.*\\xe9.* is not in UTF-8; rename") as caught:
        read_lists(data)
    assert caught.value.message.isascii()


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(f"no data set at {tmp_path / 'gone'}")):
        Folder(root=str(tmp_path / "gone")).listed()


def test_of_learnt_classes_a_folder_gives_what_is_left_to_test(tmp_path: Path) -> None:
    place(tmp_path, "train/wave/a.mp4", "test/wave/b.mp4", "test/jump/c.mp4", "train/run/d.mp4", "test/run/e.mp4")
    data = place(tmp_path, "train/jump/notes.txt", "test/clap/.hidden")
    (tmp_path / "train" / "clap").mkdir()
    found = read_lists(data, learnt=[("wave", "clap"), ("jump",)]).videos
    assert [(video.label, video.split) for video in found] == [
        ("jump", "test"),
        ("run", "test"),
        ("wave", "test"),
        ("run", "train"),
    ]
    with pytest.raises(DataError, match="clap is empty"):
        read_lists(data, learnt=[("wave", "jump")])
    with pytest.raises(DataError, match="train/jump has no video"):
        read_lists(data, learnt=[("wave", "clap")])


def test_of_a_learnt_class_what_is_there_to_test_must_be_videos(tmp_path: Path) -> None:
    data = place(tmp_path, "train/run/a.mp4", "test/run/b.mp4", "test/wave/c.txt")
    with pytest.raises(DataError, match=r"test/wave has no video, only files with \.txt"):
        read_lists(data, learnt=[("wave",)])


def test_what_is_skipped_is_left_out(tmp_path: Path) -> None:
    data = place(tmp_path, "train/wave/a.mp4", "train/wave/b.mp4", "test/wave/c.mp4")
    skip = SkipList(tmp_path / "skip.txt", {"train/wave/a.mp4": 1})
    assert [video.path.name for video in read_lists(data, skip=skip).videos] == ["c.mp4", "b.mp4"]
