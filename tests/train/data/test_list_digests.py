"""The SHA-256 of what parts a data set into training and test."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from stpr.train.data.list_digests import PATHS, joined_lists, list_digests
from stpr.train.data.source import read_lists
from stpr.train.datasets.csv_list import CsvList
from stpr.train.datasets.dataset import Dataset
from stpr.train.datasets.folder import Folder
from tests.train.datasets.test_benchmarks import TREES, hmdb51, hmdb51_official, ucf101, vclimb


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def digests(data: Dataset) -> dict[str, str]:
    return list_digests(data, read_lists(data))


def folder(root: Path) -> Folder:
    for name in ("train/wave/b.mp4", "train/wave/a.mp4", "test/wave/c.mp4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return Folder(root=str(root))


def listed(root: Path) -> CsvList:
    root.mkdir(exist_ok=True)
    (root / "clips.csv").write_text("path,label,split\nb.mp4,wave,train\na.mp4,clap,test\n")
    return CsvList(root=str(root))


def test_a_list_file_is_named_from_the_folder_of_the_data(tmp_path: Path) -> None:
    text = "path,label,split\nb.mp4,wave,train\na.mp4,clap,test\n"
    assert digests(listed(tmp_path)) == {"clips.csv": digest(text)}
    elsewhere = tmp_path / "clips.csv"
    away = CsvList(root=str(tmp_path / "videos"), file=str(elsewhere))
    assert digests(away) == {str(elsewhere): digest(text)}


def test_the_paths_of_a_folder_per_class_are_its_list(tmp_path: Path) -> None:
    data = folder(tmp_path)
    before = digests(data)
    assert before == {PATHS: digest("test/wave/c.mp4\ntrain/wave/a.mp4\ntrain/wave/b.mp4\n")}
    (tmp_path / "train/wave/a.mp4").rename(tmp_path / "test/wave/a.mp4")
    assert digests(data) != before


@pytest.mark.parametrize("tree", TREES)
def test_every_list_of_a_benchmark_counts(tree: Any, tmp_path: Path) -> None:
    data: Dataset = tree(tmp_path)
    found = digests(data)
    for name, value in found.items():
        assert value == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b"\n")
    assert all(digests(data)[name] != value for name, value in found.items())
    assert len(found) == {hmdb51_official: 51, hmdb51: 2, vclimb: 1}.get(tree, 3)
    assert not any("ClassInd" in name for name in found)  # not read, so not part of what the result rests on


def test_ucf101_names_the_split_that_was_read(tmp_path: Path) -> None:
    names = ("classInd.txt", "trainlist02.txt", "testlist02.txt")
    assert list(digests(ucf101(tmp_path))) == [f"ucfTrainTestlist/{name}" for name in names]


def test_an_extended_run_keeps_every_version_of_its_lists() -> None:
    first = joined_lists({}, {"a": "1", "b": "2"})
    assert first == {"a": ["1"], "b": ["2"]}
    assert joined_lists(first, {"a": "1"}) == first
    assert joined_lists(first, {"a": "3", "c": "4"}) == {"a": ["1", "3"], "b": ["2"], "c": ["4"]}
