"""Trained and tested on at once: told by content, whatever the names."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stpr.runtime.contract.errors import DataError
from stpr.train.data import overlap
from stpr.train.data.overlap import TAIL, check_overlap
from stpr.train.data.videos import content_digest
from stpr.train.datasets.annotations import Split, Video


def put(path: Path, content: bytes, split: Split) -> Video:
    path.write_bytes(content)
    return Video(path, "wave", split)


def link(source: Path, target: Path) -> None:
    target.symlink_to(source.name)


def hard_link(source: Path, target: Path) -> None:
    target.hardlink_to(source)


def copy(source: Path, target: Path) -> None:
    shutil.copy(source, target)


@pytest.mark.parametrize("double", [link, hard_link, copy])
@pytest.mark.parametrize("size", [10, 3 * TAIL])
def test_one_video_under_two_names(tmp_path: Path, size: int, double: Callable[[Path, Path], None]) -> None:
    videos = [put(tmp_path / f"{index}.mp4", bytes([index]) * size, "train") for index in range(5)]
    check_overlap(videos)
    double(videos[3].path, tmp_path / "other.mp4")
    videos.append(Video(tmp_path / "other.mp4", "clap", "test"))
    said = f"{videos[5].path} is for testing and {videos[3].path} for training, but their contents are equal (1 such"
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        check_overlap(videos)
    assert "put it on the skip list ([data] skip)" in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("double", [link, hard_link, copy])
@pytest.mark.parametrize("split", ["train", "test"])
def test_one_video_in_two_classes(tmp_path: Path, double: Callable[[Path, Path], None], split: Split) -> None:
    videos = [put(tmp_path / f"{index}.mp4", bytes([index]) * 10, split) for index in range(3)]
    double(videos[1].path, tmp_path / "other.mp4")
    (said,) = check_overlap([*videos, Video(tmp_path / "other.mp4", "wave", split)])  # a class may have a copy
    assert said.startswith(f"{tmp_path}/other.mp4 has the same content as {videos[1].path}: a copy counts as a clip")
    said = (
        f"{videos[1].path} has the class 'wave' and {tmp_path}/other.mp4 'clap', but their contents are equal (1 such"
    )
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        check_overlap([*videos, Video(tmp_path / "other.mp4", "clap", split)])
    assert "remove the one whose class is wrong" in caught.value.message
    assert "\n" not in caught.value.message


def test_what_only_looks_alike_is_no_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def watched(path: Path) -> str:
        read.append(path.name)
        return content_digest(path)

    monkeypatch.setattr(overlap, "content_digest", watched)
    end = b"\0" * TAIL
    videos = [
        put(tmp_path / "twice.mp4", b"a" * 9, "train"),
        put(tmp_path / "in one split.mp4", b"a" * 9, "train"),
        put(tmp_path / "alike in size.mp4", b"b" * 9, "test"),
        put(tmp_path / "a", b"a" + end, "train"),
        put(tmp_path / "b", b"b" + end, "test"),
        put(tmp_path / "empty.mp4", b"", "train"),
        put(tmp_path / "empty too.mp4", b"", "test"),
    ]
    (said,) = check_overlap(videos)
    assert said.startswith(f"{videos[1].path} has the same content as {videos[0].path}:")
    assert read == ["twice.mp4", "in one split.mp4", "a", "b"]  # the only ones alike in size and end


def test_real_clips_are_parted(shared_data: Path) -> None:
    folder = shared_data / "asl24" / "clips"
    clips = sorted(folder.glob("*/*"))[:300]
    check_overlap([Video(path, "x", "test" if index % 3 else "train") for index, path in enumerate(clips)])
