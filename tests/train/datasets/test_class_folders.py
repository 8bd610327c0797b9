"""A folder of videos as users have it: what is tested on, and what is said of that."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stpr.runtime.contract.errors import DataError
from stpr.train.datasets.annotations import Video
from stpr.train.datasets.class_folders import read_class_folders, split_by_recording
from stpr.train.datasets.csv_list import CsvList, write_list
from stpr.train.settings.recipe import StageSettings

SEVERAL = [f"{day}_{take}.mp4" for day in "abcd" for take in range(3)]


def place(root: Path, *files: str) -> Path:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def aside(videos: list[Video]) -> list[str]:
    return [video.path.name for video in videos if video.split == "test"]


def test_parts_that_the_user_made_are_taken_as_they_are(tmp_path: Path) -> None:
    videos, said = read_class_folders(place(tmp_path, "train/wave/a1.mp4", "train/wave/a2.mp4", "test/wave/a3.mp4"))
    assert aside(videos) == ["a3.mp4"]
    assert len(videos) == 3
    assert said == []
    with pytest.raises(DataError, match="has no folder test/"):
        read_class_folders(place(tmp_path / "half", "train/wave/a.mp4"))


@given(sizes=st.lists(st.lists(st.integers(1, 6), min_size=2, max_size=5), min_size=1, max_size=4))
def test_no_recording_is_on_both_sides_and_every_class_is_on_each(sizes: list[list[int]]) -> None:
    given = [
        Video(Path(f"/v/{label}/{chr(97 + part)}_{take}.mp4"), str(label), "train")
        for label, parts in enumerate(sizes)
        for part, takes in enumerate(parts)
        for take in range(takes)
    ]
    found, said = split_by_recording(given[::-1])
    assert {(video.path, video.label) for video in found} == {(video.path, video.label) for video in given}
    sides = {split: {video.recording for video in found if video.split == split} for split in ("train", "test")}
    assert not sides["train"] & sides["test"]
    for label in range(len(sizes)):
        splits = [video.split for video in found if video.label == str(label)]
        assert set(splits) == {"train", "test"}
        assert splits.count("test") <= max(splits.count("train"), 6 + len(splits) / 4)
    assert len(said) == 1
    assert split_by_recording(given) == (found, said)  # whatever the order


def test_about_a_quarter_is_tested_on_the_smallest_and_last_recordings_first(tmp_path: Path) -> None:
    videos, said = read_class_folders(place(tmp_path, *(f"wave/{name}" for name in SEVERAL)))
    assert aside(videos) == ["d_0.mp4", "d_1.mp4", "d_2.mp4"]
    assert said == [
        "9 videos to train on and 3 to test on, split by recording (a video's name up to its last number); for a split"
        " of your own, make train/CLASS/ and test/CLASS/"
    ]
    assert aside(read_class_folders(place(tmp_path, "wave/b2_0.mp4", "wave/a.mp4"))[0])[0] == "a.mp4"


def test_of_one_recording_the_end_is_tested_on_and_the_doubt_is_said(tmp_path: Path) -> None:
    place(tmp_path, *(f"wave/clip{number}.mp4" for number in range(1, 13)), "clap/a_1.mp4", "clap/b_1.mp4")
    videos, said = read_class_folders(tmp_path)
    assert aside(videos) == ["b_1.mp4", "clip10.mp4", "clip11.mp4", "clip12.mp4"]  # not clip7, clip8, clip9
    assert said[1].startswith("all videos of 'wave' have names that differ only in the last number")
    assert "accuracy may be overestimated" in said[1]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["wave/a.mp4"], r"the class 'wave' has one video, .*wave/a\.mp4: at least one is needed to train on and one"),
        (["wave/a.mp4", "wave/b.mp4", "stray.mp4"], r"stray\.mp4 is not in a class folder; move it into .*/<class>/"),
        (["wave/a.mp4", "wave/deep/b.mp4"], r"wave/deep is a folder inside a class folder"),
        (["wave/a.txt"], r"wave has no video, only files with \.txt"),
        ([], r"is empty; put each class's videos into"),
        (["train/wave/a.mp4", "test/clap/b.mp4", "train/clap/x.txt"], r"train/clap has no video"),
    ],
)
def test_what_would_be_left_out_is_told(tmp_path: Path, files: list[str], said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        read_class_folders(place(tmp_path, *files))
    assert "\n" not in caught.value.message


def test_a_name_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    (tmp_path / "wave").mkdir()
    for name in (b"a.mp4", b"\xe9.mp4"):
        (Path(str(tmp_path)) / "wave" / name.decode("utf-8", "surrogateescape")).touch()
    with pytest.raises(DataError, match=re.escape(r"\xe9.mp4 is not in UTF-8; rename")):
        read_class_folders(tmp_path)


def test_a_broken_link_is_told(tmp_path: Path) -> None:
    place(tmp_path, "wave/a.mp4", "wave/b.mp4")
    (tmp_path / "wave" / "c.mp4").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"wave/c.mp4': no regular file, but a broken link, pipe or socket; mend it"):
        read_class_folders(tmp_path)
    (tmp_path / "wave" / "c.mp4").unlink()
    os.mkfifo(tmp_path / "wave" / "c.mp4")
    with pytest.raises(DataError, match=r"wave/c.mp4': no regular file, but a broken link, pipe or socket; mend it"):
        read_class_folders(tmp_path)


def test_what_is_written_down_is_read_again(tmp_path: Path) -> None:
    names = ("wave/a_1.mp4", 'wave/"b", c_1.mp4', "clap/x.mp4", "clap/y z.mp4")
    videos, _ = read_class_folders(place(tmp_path / "videos", *names))
    write_list(tmp_path / "run" / "videos.csv", videos)
    again = CsvList(root=str(tmp_path / "run"), file="videos.csv", videos="").listed().videos
    assert sorted(again, key=str) == sorted(videos, key=str)


def test_what_is_no_video_by_its_name_is_said(tmp_path: Path) -> None:
    (tmp_path / "wave").mkdir()
    for name in ("a.3gp", "b.MTS", "c.ogv", "d.gif", "notes.txt"):
        (tmp_path / "wave" / name).touch()
    videos, notes = read_class_folders(tmp_path)
    assert sorted(video.path.name for video in videos) == ["a.3gp", "b.MTS", "c.ogv", "d.gif"]
    assert notes[-1] == "ignored, because they don't have the names of videos: 'notes.txt'"


def test_a_class_in_two_forms_of_unicode_is_one(tmp_path: Path) -> None:
    files = [f"{unicodedata.normalize(form, 'café')}/{form}_{take}.mp4" for form in ("NFC", "NFD") for take in (1, 2)]
    videos, _ = read_class_folders(place(tmp_path, *files))
    assert {video.label for video in videos} == {unicodedata.normalize("NFC", "café")}
    assert {video.path.is_file() for video in videos} == {True}
    stages = StageSettings(classes=((unicodedata.normalize("NFD", "café"),),))
    assert stages.classes == ((videos[0].label,),)


@pytest.mark.parametrize("label", ["a\nb", "tab\there", "bell\a", "next\u2028line"])
def test_a_class_name_that_breaks_lines_is_refused(tmp_path: Path, label: str) -> None:
    (tmp_path / label).mkdir()
    for name in ("a1.mp4", "b1.mp4"):
        (tmp_path / label / name).touch()
    with pytest.raises(DataError, match="has a line break or a control character in its name; rename it") as caught:
        read_class_folders(tmp_path)
    assert caught.value.message.isprintable()


def test_what_systems_put_into_folders_unasked_is_no_file_of_the_users(tmp_path: Path) -> None:
    for place in ("wave/a1.mp4", "wave/b1.mp4", "wave/desktop.ini", "Thumbs.db", "@eaDir/x.jpg", "__MACOSX/._a.mp4"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).touch()
    videos, notes = read_class_folders(tmp_path)
    assert {video.label for video in videos} == {"wave"}
    assert not [note for note in notes if "ignored" in note]


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (("Train", "Test"), "seems to hold splits, not classes; rename Test/ to test/ and Train/ to train/."),
        (("training", "validation"), "splits, not classes; rename training/ to train/ and validation/ to test/."),
        (("train", "val"), "has no folder test/; rename val/."),
        (("Train", "test"), "has no folder train/; rename Train/."),
    ],
)
def test_splits_under_other_names_are_named(tmp_path: Path, folders: tuple[str, str], said: str) -> None:
    with pytest.raises(DataError, match=re.escape(said)):
        read_class_folders(place(tmp_path, *(f"{folder}/wave/{folder}1.mp4" for folder in folders)))


def test_what_stands_beside_the_splits_is_said_and_a_class_may_be_called_like_one(tmp_path: Path) -> None:
    files = ("train/wave/a1.mp4", "test/wave/b1.mp4", "val/wave/c1.mp4", "notes.txt", "background/room.mp4")
    videos, notes = read_class_folders(place(tmp_path / "splits", *files))
    assert len(videos) == 2
    assert notes == ["ignored, because only train/ and test/ are read: 'notes.txt', 'val'"]
    classes = [f"{label}/{take}.mp4" for label in ("testing", "training") for take in ("a1", "b1")]
    videos, _ = read_class_folders(place(tmp_path / "classes", *classes))
    assert {video.label for video in videos} == {"testing", "training"}
