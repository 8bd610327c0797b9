"""List files, their digests, and the videos that they name before the videos are there."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from stpr.runtime.contract.errors import DataError
from stpr.train.data.source import read_videos
from stpr.train.datasets.annotations import Video
from stpr.train.datasets.lists import PATHS, joined_lists, list_digests, named_videos
from stpr.train.datasets.motions import write_motions
from stpr.train.settings.data import CsvData, DataSettings, FolderData, MotionsData
from tests.train.datasets.test_benchmarks import TREES, hmdb51, hmdb51_official, place_videos, ucf101, vclimb


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def folder(root: Path) -> FolderData:
    for name in ("train/wave/b.mp4", "train/wave/a.mp4", "test/wave/c.mp4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return FolderData(root=str(root))


def listed(root: Path) -> CsvData:
    root.mkdir(exist_ok=True)
    (root / "clips.csv").write_text("path,label,split\nb.mp4,wave,train\na.mp4,clap,test\n")
    return CsvData(root=str(root))


def test_a_list_file_is_named_from_the_folder_of_the_data(tmp_path: Path) -> None:
    text = "path,label,split\nb.mp4,wave,train\na.mp4,clap,test\n"
    assert list_digests(listed(tmp_path), []) == {"clips.csv": digest(text)}
    elsewhere = tmp_path / "clips.csv"
    away = CsvData(root=str(tmp_path / "videos"), file=str(elsewhere))
    assert list_digests(away, []) == {str(elsewhere): digest(text)}


def test_the_paths_of_a_folder_per_class_are_its_list(tmp_path: Path) -> None:
    data = folder(tmp_path)
    videos = named_videos(data)
    assert list_digests(data, videos) == {PATHS: digest("test/wave/c.mp4\ntrain/wave/a.mp4\ntrain/wave/b.mp4\n")}
    (tmp_path / "train/wave/a.mp4").rename(tmp_path / "test/wave/a.mp4")
    assert list_digests(data, named_videos(data)) != list_digests(data, videos)


@pytest.mark.parametrize("tree", TREES)
def test_every_list_of_a_benchmark_counts(tree: Any, tmp_path: Path) -> None:
    data: DataSettings = tree(tmp_path)
    found = list_digests(data, [])
    for name, value in found.items():
        assert value == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b"\n")
    assert all(list_digests(data, [])[name] != value for name, value in found.items())
    assert len(found) == {hmdb51_official: 51, hmdb51: 2, vclimb: 1}.get(tree, 3)
    assert not any("ClassInd" in name for name in found)  # not read, so not part of what the result rests on


def test_ucf101_names_the_split_that_was_read(tmp_path: Path) -> None:
    names = ("classInd.txt", "trainlist02.txt", "testlist02.txt")
    assert list(list_digests(ucf101(tmp_path), [])) == [f"ucfTrainTestlist/{name}" for name in names]


def test_an_extended_run_keeps_every_version_of_its_lists() -> None:
    first = joined_lists({}, {"a": "1", "b": "2"})
    assert first == {"a": ["1"], "b": ["2"]}
    assert joined_lists(first, {"a": "1"}) == first
    assert joined_lists(first, {"a": "3", "c": "4"}) == {"a": ["1", "3"], "b": ["2"], "c": ["4"]}


@pytest.mark.parametrize("tree", [folder, listed, ucf101, hmdb51_official])
def test_what_is_named_is_what_is_read_once_it_is_there(tree: Any, tmp_path: Path) -> None:
    data: DataSettings = tree(tmp_path)
    named = named_videos(data)
    for video in named:
        video.path.parent.mkdir(parents=True, exist_ok=True)
        video.path.touch()
    assert named == read_videos(data, lambda *_: None)


def test_a_learnt_class_names_what_is_left_to_test(tmp_path: Path) -> None:
    data = ucf101(tmp_path)
    videos = place_videos(data)
    old = [video for video in videos if video.label == "JumpRope"]
    assert [video for video in videos if video not in named_videos(data, learnt=["JumpRope"])] == [
        video for video in old if video.split == "train"
    ]
    for video in old:
        video.path.unlink()
    assert named_videos(data, learnt=["JumpRope"]) == [video for video in videos if video not in old]


def test_motions_are_named_before_they_are_written_as_they_will_be(tmp_path: Path) -> None:
    data = MotionsData(root=str(tmp_path / "motions"), train_per_class=2, test_per_class=1)
    before = named_videos(data)
    assert list_digests(data, before) == {}
    assert not (tmp_path / "motions").exists()
    write_motions(Path(data.root), train_per_class=2, test_per_class=1, seed=0)
    assert named_videos(data) == before
    assert all(isinstance(video, Video) and video.path.is_file() for video in before)
    assert list(list_digests(data, before)) == ["clips.csv"]
    with pytest.raises(DataError, match="was made with train_per_class 2"):
        named_videos(MotionsData(root=data.root, train_per_class=3, test_per_class=1))
