"""Which clips the page may show, whose they are, and what of them is sent."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest

from stpr.runtime.serve.shelf import MOST, Film, Shelf
from stpr.runtime.sinks.store import plain
from tests.runtime.serve.runs import make_clip

NAME = "20260102T030405Z_door-wave-7.mp4"
AT = 1767323045.0  # its time


def test_the_newest_come_first_with_action_camera_and_time(tmp_path: Path) -> None:
    make_clip(tmp_path, NAME)
    make_clip(tmp_path, "20260102T030406Z-2_north-yard-hand-wave-12.mp4")
    make_clip(tmp_path, "20260102T030407Z_door-juggle-1.mp4")
    (tmp_path / "notes.txt").write_text("not ours")
    (tmp_path / "20260102T030408Z_begun-wave-1.mp4").touch()
    (tmp_path / "20260102T030409Z_killed-wave-1.mp4").write_bytes(bytes(24))
    found = Shelf(tmp_path).clips(["wave", "hand wave"])
    assert [(one.title, one.camera) for one in found] == [
        ("door-juggle-1", None),
        ("hand wave", "north-yard"),
        ("wave", "door"),
    ]
    assert (found[-1].name, found[-1].at, found[-1].whole) == (NAME, AT, True)
    assert found[-1].bytes == (tmp_path / NAME).stat().st_size


def test_a_clip_that_is_being_written_is_not_whole(tmp_path: Path) -> None:
    path = make_clip(tmp_path, NAME)
    os.utime(path)
    shelf = Shelf(tmp_path)
    assert not shelf.clips(["wave"])[0].whole
    assert not shelf.is_whole(path)
    assert not shelf.is_whole(tmp_path / "gone.mp4")


def test_an_event_finds_its_own_clip(tmp_path: Path) -> None:
    long = "rtsp://192.168.1.17:554/Streaming/Channels/101"
    make_clip(tmp_path, NAME)
    make_clip(tmp_path, f"20260102T030405Z_{plain(long)[:30]}-wave-1.mp4")
    shelf = Shelf(tmp_path)
    for late in (-1.5, 0.0, 1.5, 5.5):
        assert shelf.clip_of("wave", "door", AT - late) == NAME
    assert shelf.clip_of("wave", long, AT) == f"20260102T030405Z_{plain(long)[:30]}-wave-1.mp4"
    assert shelf.clip_of("jump", "door", AT) is None
    assert shelf.clip_of("wave", "yard", AT) is None
    assert shelf.clip_of("wave", "door", AT - 60) is None


@pytest.mark.parametrize(
    "name",
    [
        "../20260102T030405Z_door-wave-7.mp4",
        "clips/20260102T030405Z_door-wave-7.mp4",
        "/etc/passwd",
        "..",
        "",
        "secret.mp4",
        "20260102T030405Z_link.mp4",
        "20260102T030405Z_folder.mp4",
        "20260102T030405Z_x\0.mp4",
        "20260102T030405Z_" + "x" * 300 + ".mp4",
        "20260102T030405Z_gone.mp4",
    ],
)
def test_nothing_else_is_given_out(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "clips"
    make_clip(folder, NAME)
    make_clip(tmp_path, NAME)
    (folder / "secret.mp4").write_bytes(b"not named by us")
    (folder / "20260102T030405Z_link.mp4").symlink_to(tmp_path / NAME)
    (folder / "20260102T030405Z_folder.mp4").mkdir()
    shelf = Shelf(folder)
    assert shelf.find(NAME) == folder / NAME
    assert shelf.find(name) is None
    assert [one.name for one in shelf.clips([])] == [NAME]


def test_without_a_folder_and_where_it_went_there_are_none(tmp_path: Path) -> None:
    for shelf in (Shelf(None), Shelf(tmp_path / "away")):
        assert shelf.clips(["wave"]) == []
        assert shelf.find(NAME) is None
        assert shelf.clip_of("wave", "door", AT) is None
    assert [Shelf(None).is_there, Shelf(tmp_path).is_there] == [False, True]


def test_of_thousands_the_newest_are_listed_and_the_folder_is_not_read_for_every_question(tmp_path: Path) -> None:
    for number in range(3 * MOST):
        (tmp_path / f"20260102T03{number // 60:02}{number % 60:02}Z_door-wave-{number}.mp4").write_bytes(b"x" * 99)
    shelf = Shelf(tmp_path)
    assert [one.name.split("-")[-1] for one in shelf.clips(["wave"])][::MOST] == [f"{3 * MOST - 1}.mp4"]
    (tmp_path / "20270102T030405Z_door-wave-9999.mp4").write_bytes(b"x" * 99)
    assert len(shelf.clips([])) == MOST
    assert "9999" not in shelf.clips([])[0].name
    time.sleep(1.1)
    assert "9999" in shelf.clips([])[0].name


def test_its_pictures_come_in_order_and_no_more_than_are_looked_at(tmp_path: Path) -> None:
    film = Film(make_clip(tmp_path, NAME))
    assert (film.fps, film.count) == (15.0, 30)
    sent = b"".join(film.coded(lambda image: bytes([int(np.mean(image))])))
    lengths = struct.unpack(">" + "IB" * 30, sent)[::2]
    shades = struct.unpack(">" + "IB" * 30, sent)[1::2]
    assert set(lengths) == {1}
    assert list(shades) == pytest.approx([8 * number for number in range(30)], abs=6)


def test_what_is_no_video_has_no_pictures(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"torn" * 99)
    film = Film(tmp_path / NAME)
    assert list(film.coded(lambda _: b"")) == []
