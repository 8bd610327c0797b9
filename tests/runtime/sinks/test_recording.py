from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from stpr.runtime.contract.errors import StprError
from stpr.runtime.settings import Settings
from stpr.runtime.sinks.recording import LIVE_FPS, Recording, open_recording
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
    sink = Recording(tmp_path / "out.mp4")
    for index in range(25):
        origin = Origin("clip", is_live=False, fps=fps)
        sink.write(make_result(index, said=index % 3 == 0, captured_at=index / fps, source=origin))
    sink.close()
    count, rate, size = read_back(tmp_path / "out.mp4")
    assert (count, size) == (25, (640, 480))
    assert rate == pytest.approx(fps, rel=1e-3)


@pytest.mark.parametrize("rate", [7.0, 15.0, 60.0])
def test_a_second_of_a_camera_stays_a_second(tmp_path: Path, rate: float) -> None:
    sink = Recording(tmp_path / "out.mp4")
    for index in range(round(3 * rate)):
        sink.write(make_result(index, captured_at=1000 + index / rate, source=CAMERA))
    sink.close()
    count, fps, _ = read_back(tmp_path / "out.mp4")
    assert fps == pytest.approx(LIVE_FPS)
    assert count / fps == pytest.approx(3, abs=2 / rate)


def test_an_outage_leaves_no_hole_and_another_size_is_fitted(tmp_path: Path) -> None:
    sink = Recording(tmp_path / "out.mp4")
    origin = Origin("camera", is_live=True, fps=10)
    for start, image in ((0, IMAGE), (3600, IMAGE[:40, :40])):
        for index in range(10):
            sink.write(make_result(index, captured_at=start + index / 10, source=origin, image=image))
    sink.close()
    assert read_back(tmp_path / "out.mp4")[0] == 20


@pytest.mark.parametrize(("name", "message"), [("no/out.mp4", "there is no folder"), ("out.xyz", r"name a \.mp4 file")])
def test_a_video_that_can_not_be_written_is_one_line(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(StprError, match=message):
        Recording(tmp_path / name).write(make_result())


@pytest.mark.parametrize("name", ["caf\udce9.mp4", "a:b.mp4", "./7.mp4", "%03d.mp4"])
def test_a_name_is_but_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    sink = Recording(Path(name))
    for index in range(10):
        sink.write(make_result(index, captured_at=index / 25))
    sink.close()
    assert len(list(open_recorded(Path(name)))) == 10
    assert list(tmp_path.iterdir()) == [tmp_path / Path(name)]


def test_a_run_without_a_frame_leaves_no_file(tmp_path: Path) -> None:
    Recording(tmp_path / "out.mp4").close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["file", "link", "dangling link", "folder"])
def test_what_is_there_is_not_recorded_over(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out.mp4"
    if kind == "file":
        target.write_bytes(b"earlier")
    elif kind == "folder":
        target.mkdir()
    else:
        target.symlink_to(tmp_path / "earlier.mp4")
        if kind == "link":
            (tmp_path / "earlier.mp4").write_bytes(b"earlier")
    with pytest.raises(StprError, match=r"out\.mp4 is there already, .* name another file, or remove that one\.$"):
        Recording(target)
    assert [path.read_bytes() for path in tmp_path.iterdir() if path.is_file()] == [b"earlier"] * {
        "file": 1,
        "link": 2,
    }.get(kind, 0)


def test_the_settings_ask_for_it(tmp_path: Path) -> None:
    assert open_recording(Settings(source="0")) is None
    assert open_recording(Settings(source="0", record=tmp_path / "out.mp4")) is not None
