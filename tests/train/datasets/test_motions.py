"""The embedded set as a data set: planned, then written, then read like any list."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from stpr.runtime.contract.errors import DataError
from stpr.train.data.list_digests import list_digests
from stpr.train.data.source import read_lists
from stpr.train.datasets.motions import Motions


def ignore(done: int, total: int) -> None:
    """Progress that nobody watches."""


def test_motions_are_named_before_they_are_written_as_they_will_be(tmp_path: Path) -> None:
    data = Motions(root=str(tmp_path / "motions"), train_per_class=2, test_per_class=1)
    before = read_lists(data)
    assert list_digests(data, before) == {}
    assert 30 * 10_000 < before.unwritten < 30 * 40_000
    assert not (tmp_path / "motions").exists()
    data.prepare(ignore)
    after = read_lists(data)
    assert after.videos == before.videos
    assert after.unwritten == 0
    assert all(video.path.is_file() for video in after.videos)
    assert list(list_digests(data, after)) == ["clips.csv"]


def test_progress_tells_how_many_of_how_many(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    data = Motions(root=str(tmp_path / "motions"), train_per_class=1, test_per_class=1)
    data.prepare(lambda done, total: told.append((done, total)))
    assert told == [(done, 20) for done in range(1, 21)]
    data.prepare(lambda done, total: told.append((done, total)))
    assert len(told) == 20  # they are there


def test_a_set_of_other_settings_is_neither_read_nor_overwritten(tmp_path: Path) -> None:
    data = Motions(root=str(tmp_path / "motions"), train_per_class=1, test_per_class=1)
    data.prepare(ignore)
    other = msgspec.structs.replace(data, train_per_class=3)
    for ask in (other.listed, lambda: other.prepare(ignore)):
        with pytest.raises(DataError, match=r"was made with train_per_class 1.*, not train_per_class 3"):
            ask()
