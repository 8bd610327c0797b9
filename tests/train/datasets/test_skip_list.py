"""What a skip list leaves out, and what it must not be silent about."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stpr.runtime.contract.errors import DataError
from stpr.train.datasets.skip_list import NOTHING, read_skip_list

FOLDER = Path("/set/videos")
LISTED = [FOLDER / name for name in ("clap/b.mp4", "wave/a b.mp4", "wave/c.mp4", "jump/c.mp4")]


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "skip.txt"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_path_per_line(tmp_path: Path) -> None:
    skip = read_skip_list(write(tmp_path, "\ufeff# cut off\n\n  wave/a b.mp4  \nclap/b.mp4\r\n#clap/c.mp4\n"))
    assert skip.lines == {"wave/a b.mp4": 3, "clap/b.mp4": 4}
    assert skip.among(LISTED, FOLDER) == {LISTED[0], LISTED[1]}
    assert NOTHING.among(LISTED, FOLDER) == frozenset()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            "wave/x.mp4",
            "'wave/x.mp4' is not one of the videos; write its path below /set/videos as the data set lists it",
        ),
        ("b.mp4", "'b.mp4' is not one of the videos (did you mean 'clap/b.mp4'?); write"),
        ("elsewhere/wave/c.mp4", "'elsewhere/wave/c.mp4' is not one of the videos (did you mean 'wave/c.mp4'?); write"),
        ("run/b.mp4", "'run/b.mp4' is not one of the videos (did you mean 'clap/b.mp4'?); write"),
        ("run/c.mp4", "'run/c.mp4' is not one of the videos; write"),
    ],
)
def test_an_entry_that_is_no_video_is_told(tmp_path: Path, entry: str, said: str) -> None:
    skip = read_skip_list(write(tmp_path, f"clap/b.mp4\n{entry}\n"))
    with pytest.raises(DataError, match=re.escape(f"skip.txt, line 2: {said}")) as caught:
        skip.among(LISTED, FOLDER, learnt={"jump"})
    assert "\n" not in caught.value.message


def test_a_video_elsewhere_is_named_by_its_own_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    videos = [tmp_path / "wave" / "a.mp4", tmp_path / "wave" / "b.mp4"]
    skip = read_skip_list(write(tmp_path, f"wave/a.mp4\n{videos[1]}\n"))
    assert skip.among(videos, FOLDER) == set(videos)
    with pytest.raises(DataError, match=rf"did you mean '{tmp_path}/wave/b.mp4'"):
        read_skip_list(write(tmp_path, "other/b.mp4")).among(videos, FOLDER)


def test_videos_of_a_learnt_class_may_be_gone(tmp_path: Path) -> None:
    skip = read_skip_list(write(tmp_path, "run/d.mp4\nclap/b.mp4\n"))
    assert skip.among(LISTED, FOLDER, learnt={"run"}) == {LISTED[0]}


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_list_that_can_not_be_read_is_told(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "skip.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(
        DataError, match=r"the skip list .*skip\.txt can't be read \(.*\[data\] skip, which is relative"
    ):
        read_skip_list(file)
