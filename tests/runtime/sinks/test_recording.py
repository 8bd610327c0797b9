from __future__ import annotations

import itertools
import os
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from stpr.runtime.contract.errors import StprError
from stpr.runtime.settings import Settings
from stpr.runtime.sinks import open_sinks
from stpr.runtime.sinks.recording import Folder, OneFile, Recording, open_recording
from stpr.runtime.sinks.sink import MissedError
from stpr.runtime.sinks.video_file import LIVE_FPS
from stpr.runtime.sources import Origin
from stpr.runtime.sources.files import open_recorded
from tests.runtime.sinks.results import CAMERA, IMAGE, make_result


def read_back(path: Path) -> tuple[int, float, tuple[int, int]]:
    video = cv2.VideoCapture(str(path))
    count = 0
    while video.grab():
        count += 1
    size = int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
    return count, video.get(cv2.CAP_PROP_FPS), size


@pytest.mark.parametrize("fps", [10.0, 29.97])
def test_a_file_is_recorded_frame_by_frame(tmp_path: Path, fps: float) -> None:
    sink = Recording(OneFile(tmp_path / "out.mp4"))
    for index in range(25):
        origin = Origin("clip", is_live=False, fps=fps)
        sink.write(make_result(index, said=index % 3 == 0, captured_at=index / fps, source=origin))
    sink.close()
    count, rate, size = read_back(tmp_path / "out.mp4")
    assert (count, size) == (25, (640, 480))
    assert rate == pytest.approx(fps, rel=1e-3)


@pytest.mark.parametrize("rate", [7.0, 15.0, 60.0])
def test_a_second_of_a_camera_stays_a_second(tmp_path: Path, rate: float) -> None:
    sink = Recording(OneFile(tmp_path / "out.mp4"))
    for index in range(round(3 * rate)):
        sink.write(make_result(index, captured_at=1000 + index / rate, source=CAMERA))
    sink.close()
    count, fps, _ = read_back(tmp_path / "out.mp4")
    assert fps == pytest.approx(LIVE_FPS)
    assert count / fps == pytest.approx(3, abs=2 / rate)


def test_an_outage_leaves_no_hole_and_another_size_is_fitted(tmp_path: Path) -> None:
    sink = Recording(OneFile(tmp_path / "out.mp4"))
    origin = Origin("camera", is_live=True, fps=10)
    for start, image in ((0, IMAGE), (3600, IMAGE[:40, :40])):
        for index in range(10):
            sink.write(make_result(index, captured_at=start + index / 10, source=origin, image=image))
    sink.close()
    assert read_back(tmp_path / "out.mp4")[0] == 20


@pytest.mark.parametrize(("name", "message"), [("no/out.mp4", "there is no folder"), ("out.xyz", r"name a \.mp4 file")])
def test_a_video_that_can_not_be_written_is_one_line(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(StprError, match=message):
        Recording(OneFile(tmp_path / name)).write(make_result())


@pytest.mark.parametrize("name", ["caf\udce9.mp4", "a:b.mp4", "./7.mp4", "%03d.mp4", "A.MP4"])
def test_a_name_is_but_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    sink = Recording(OneFile(Path(name)))
    for index in range(10):
        sink.write(make_result(index, captured_at=index / 25))
    sink.close()
    assert len(list(open_recorded(Path(name)))) == 10
    assert list(tmp_path.iterdir()) == [tmp_path / Path(name)]


def test_a_run_without_a_frame_leaves_no_file(tmp_path: Path) -> None:
    Recording(OneFile(tmp_path / "out.mp4")).close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["file", "link", "dangling link"])
def test_what_is_there_is_not_recorded_over(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out.mp4"
    if kind == "file":
        target.write_bytes(b"earlier")
    else:
        target.symlink_to(tmp_path / "earlier.mp4")
        if kind == "link":
            (tmp_path / "earlier.mp4").write_bytes(b"earlier")
    with pytest.raises(StprError, match=r"out\.mp4 exists already, .* name another file, or remove that one\.$"):
        OneFile(target)
    assert [path.read_bytes() for path in tmp_path.iterdir() if path.is_file()] == [b"earlier"] * {
        "file": 1,
        "link": 2,
    }.get(kind, 0)


def test_the_settings_ask_for_it(tmp_path: Path) -> None:
    assert open_recording(Settings(source="0")) is None
    assert open_recording(Settings(source="0", record=tmp_path / "out.mp4")) is not None


def folder_of(path: Path, keep: str | None = None) -> Recording:
    sink = open_recording(Settings(source="0", record=path, keep=keep))
    assert sink is not None
    return sink


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Videos of a second, and a look at the disk for every frame."""
    monkeypatch.setattr(Folder, "longest", 1.0)
    monkeypatch.setattr("stpr.runtime.sinks.store.LOOK_SECONDS", 0.0)
    monkeypatch.setattr("stpr.runtime.sinks.recording.LOOK_SECONDS", 0.0)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of six megabytes, of which recordings leave two to others."""
    path = tmp_path / "disk"
    path.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", path], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting needs root")
    yield path
    subprocess.run(["umount", path], check=True)


def play_one(sink: Recording, index: int, name: str, *, noise: bool = False) -> None:
    image = np.random.default_rng(index).integers(0, 256, (480, 640, 3), np.uint8) if noise else IMAGE
    origin = Origin(name, is_live=False, fps=10.0)
    sink.write(make_result(index, captured_at=index / 10, source=origin, image=image))


def play(sink: Recording, frames: int, *, first: int = 0, name: str = "cam", noise: bool = False) -> int:
    """Ten frames a second of a source; returns how many the sink took."""
    taken = 0
    for index in range(first, first + frames):
        try:
            play_one(sink, index, name, noise=noise)
            taken += 1
        except MissedError:
            pass
    return taken


@pytest.mark.usefixtures("short")
def test_a_folder_gets_one_short_video_after_the_other_and_every_run_adds_to_it(tmp_path: Path) -> None:
    seen: dict[Path, bytes] = {}
    for run in range(1, 4):
        sink = folder_of(tmp_path / "days")
        play(sink, 25)
        sink.close()
        videos = {path: path.read_bytes() for path in (tmp_path / "days").iterdir()}
        assert len(videos) == 3 * run
        assert seen.items() <= videos.items()  # nothing that was there is another
        seen = videos
    assert sum(read_back(path)[0] for path in seen) == 75
    assert {read_back(path)[0] for path in seen} == {10, 5}


@pytest.mark.usefixtures("short")
def test_each_camera_has_its_own_videos_in_a_folder_and_a_file_has_room_for_one(tmp_path: Path) -> None:
    sink = folder_of(tmp_path)
    for first in (0, 5):
        for name in ("yard", "rtsp://host/door#1"):
            play(sink, 5, first=first, name=name)
    sink.close()
    assert [read_back(path)[0] for path in tmp_path.iterdir()] == [10, 10]
    assert {path.name.split("_")[1] for path in tmp_path.iterdir()} == {"yard.mp4", "rtsp-host-door-1.mp4"}
    sink = Recording(OneFile(tmp_path / "one.mp4"))
    play(sink, 5, name="yard")
    with pytest.raises(StprError, match=r"one\.mp4 has the video of yard, not of door too; name a folder\.$"):
        play(sink, 5, name="door")
    sink.close()


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(("keep", "left"), [("0.2MB", 2), ("1h", 3), ("0.2MB,1h", 2), ("1GB,9d", 5), (None, 5)])
def test_what_is_kept_is_bounded_by_size_and_age_and_nothing_else_is_removed(
    tmp_path: Path, keep: str | None, left: int
) -> None:
    others = [tmp_path / name for name in ("mine.mp4", "20260101.mp4", "notes.txt")]
    for path in others:
        path.write_bytes(bytes(1 << 20))
        os.utime(path, (0, 0))
    kept = [f"2026010{index}T000000Z_cam.mp4" for index in range(1, 5)]
    for index, name in enumerate(kept):
        path = tmp_path / name
        path.write_bytes(bytes(150_000))
        hours = 2 if index < 2 else 0
        os.utime(path, (time.time() - 3600 * hours,) * 2)
    sink = folder_of(tmp_path, keep)
    play(sink, 3)
    sink.close()
    videos = sorted(path.name for path in tmp_path.iterdir() if path not in others)
    assert len(videos) == left  # the one that was written is among them
    assert [name for name in videos if name.startswith("2026010")] == kept[5 - left :]
    assert all(path.exists() for path in others)


@pytest.mark.parametrize("keep", ["", "20", "GB", "7d,3d", "1GB,", "-1d", "0GB", "1e3MB", "5 weeks"])
def test_what_to_keep_is_a_size_an_age_or_both(tmp_path: Path, keep: str) -> None:
    with pytest.raises(StprError, match=r"^--keep .*is not a size, an age or both; write 20GB, 7d"):
        folder_of(tmp_path, keep)


@pytest.mark.usefixtures("short")
def test_a_disk_that_fills_up_ends_a_file_that_can_be_read(disk: Path) -> None:
    sink = Recording(OneFile(disk / "out.mp4"))
    with pytest.raises(StprError, match=r"^the disk of .*out\.mp4 is nearly full; free space\.$") as caught:
        play(sink, 1000, noise=True)
    assert not isinstance(caught.value, MissedError)
    sink.close()
    assert read_back(disk / "out.mp4")[0] > 20
    assert 500_000 < shutil.disk_usage(disk).free < 2_500_000


@pytest.mark.usefixtures("short")
def test_a_disk_that_fills_up_pauses_a_folder_until_there_is_room(disk: Path) -> None:
    sink = folder_of(disk / "days")
    taken = play(sink, 150, noise=True)
    assert 20 < taken < 150
    before = set((disk / "days").iterdir())
    assert all(read_back(path)[0] > 0 for path in before)
    for path in sorted(before)[:2]:
        path.unlink()
    assert play(sink, 5, first=150, noise=True) == 5
    sink.close()
    assert len(list((disk / "days").iterdir())) == len(before) - 2 + 1


@pytest.mark.usefixtures("short")
def test_a_pause_that_lasts_to_the_end_is_an_error_there(disk: Path) -> None:
    sink = folder_of(disk / "days")
    assert play(sink, 150, noise=True) < 150
    with pytest.raises(
        MissedError, match=r"^the disk of .*days is nearly full; free space, and recording continues\.$"
    ):
        sink.close()


@pytest.mark.usefixtures("short")
def test_where_old_videos_may_go_a_full_disk_is_no_pause(disk: Path) -> None:
    sink = folder_of(disk / "days", "1TB")
    assert play(sink, 150, noise=True) == 150
    sink.close()


def test_what_others_wrote_onto_the_disk_meanwhile_is_noticed_at_the_end(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = Recording(OneFile(disk / "out.mp4"))
    play(sink, 1, noise=True)
    monkeypatch.setattr("stpr.runtime.sinks.recording.LOOK_SECONDS", float("inf"))
    (disk / "other").write_bytes(bytes(shutil.disk_usage(disk).free - 600_000))
    play(sink, 200, first=1, noise=True)
    with pytest.raises(StprError, match=r"out\.mp4 holds \d+ of the 201 frames that were recorded; free space\.$"):
        sink.close()
    assert read_back(disk / "out.mp4")[0] > 0


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No file of this process may have more than 200 kB: as with a quota, or 4 GB on FAT, the disk itself has room."""
    monkeypatch.setattr("stpr.runtime.sinks.video_file.GROWS_WITHIN", 6.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def play_until_missed(sink: Recording, first: int = 0) -> tuple[int, str]:
    """The index of the first frame that was missed, and why."""
    for index in itertools.count(first):
        try:
            play_one(sink, index, "cam", noise=True)
        except MissedError as error:
            return index, error.message
    raise AssertionError


@pytest.mark.usefixtures("small_files")
def test_a_file_that_no_longer_grows_is_noticed_while_it_is_written(tmp_path: Path) -> None:
    sink = Recording(OneFile(tmp_path / "out.mp4"))
    missed, why = play_until_missed(sink)
    assert missed == 119  # the second look
    assert "out.mp4 no longer grows at 0.2 MB; free space, and check the disk's limits per file" in why
    with pytest.raises(StprError, match=r"out\.mp4 has failed and is not overwritten; name a folder") as caught:
        play_one(sink, 120, "cam")
    assert not isinstance(caught.value, MissedError)
    sink.close()
    assert read_back(tmp_path / "out.mp4")[0] > 0


@pytest.mark.usefixtures("small_files")
def test_a_folder_goes_on_with_another_file_where_one_no_longer_grows(tmp_path: Path) -> None:
    sink = folder_of(tmp_path / "days")
    missed, _ = play_until_missed(sink)
    assert play(sink, 20, first=missed + 1) == 20
    sink.close()
    assert sorted(read_back(path)[0] > 0 for path in (tmp_path / "days").iterdir()) == [True, True]


def test_a_folder_that_is_removed_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stpr.runtime.sinks.store.LOOK_SECONDS", 0.0)
    sink, missed = Recording(Folder(tmp_path / "videos", Settings(source="0"))), []
    for index in range(400):
        try:
            sink.write(make_result(index, captured_at=index / 10, source=Origin("camera", is_live=True, fps=10)))
        except MissedError as error:
            missed.append(error.message)
        if index == 20:
            shutil.rmtree(tmp_path / "videos")
    sink.close()
    assert len(missed) == 1
    assert re.search(r"_camera\.mp4 was removed while it was recorded\.$", missed[0])
    (video,) = (tmp_path / "videos").iterdir()
    assert read_back(video)[0] > 200


def test_a_folder_that_takes_no_file_is_told_at_once() -> None:
    nowhere = Path("/proc")
    for settings in (Settings(source="0", record=nowhere), Settings(source="0", clips=nowhere)):
        with pytest.raises(StprError, match=r"can't record to /proc \(.*\); choose another place"):
            open_sinks(settings)


def test_every_moment_of_a_recording_can_be_read(tmp_path: Path) -> None:
    """What a kill leaves is what is on the disk at that moment."""
    sink = Recording(OneFile(tmp_path / "out.mp4"))
    play(sink, 120, noise=True)
    (tmp_path / "killed.mp4").write_bytes((tmp_path / "out.mp4").read_bytes())
    sink.close()
    assert 50 < read_back(tmp_path / "killed.mp4")[0] < 120
    assert read_back(tmp_path / "out.mp4")[0] == 120
