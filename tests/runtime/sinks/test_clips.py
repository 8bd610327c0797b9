from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from stpr.runtime.events import End, Start
from stpr.runtime.settings import Settings
from stpr.runtime.sinks.clips import AFTER, BEFORE, LONGEST, MOST_BYTES, Clips, open_clips
from stpr.runtime.sinks.sink import MissedError
from stpr.runtime.sources import Origin
from tests.runtime.sinks.results import make_result

FPS = 10.0
TIME = "2026-01-01T00:00:00+00:00"


def opened(folder: Path, keep: str | None = None) -> Clips:
    sink = open_clips(Settings(source="0", clips=folder, keep=keep))
    assert sink is not None
    return sink


def play(sink: Clips, seconds: float, events: dict[float, Start | End], name: str = "cam", first: float = 0.0) -> None:
    """A source whose brightness tells the second: four levels of grey for each."""
    for index in range(round(first * FPS), round(seconds * FPS)):
        at = index / FPS
        image = np.full((480, 480, 3), min(255, 4 * int(at)), np.uint8)
        result = make_result(index, captured_at=at, source=Origin(name, is_live=False, fps=FPS), image=image)
        sink.write(dataclasses.replace(result, events=(events[at],) if at in events else ()))


def start(number: int, label: str = "wave") -> Start:
    return Start(id=number, label=label, stage=1, score=0.9, frame=0, time=TIME, peak_frame=0, peak_time=TIME)


def end(number: int) -> End:
    return End(
        id=number, label="wave", stage=1, score=0.9, frame=0, time=TIME, start_frame=0, start_time=TIME, peak=0.9,
        peak_frame=0, peak_time=TIME,
    )  # fmt: skip


def seconds_shown(path: Path) -> tuple[float, float, float]:
    """The first and the last second that a video shows, by their brightness, and how long it is."""
    video, shown = cv2.VideoCapture(str(path)), list[float]()
    while True:
        there, picture = video.read()
        if not there:
            return shown[0], shown[-1], len(shown) / FPS
        shown.append(float(picture[200:240, 200:280].mean()) / 4)


def clips(folder: Path) -> list[Path]:
    return sorted(folder.iterdir(), key=lambda path: path.name.split("-")[-1])


def test_a_clip_begins_before_its_event_was_said_and_ends_after_its_end(tmp_path: Path) -> None:
    sink = opened(tmp_path / "clips")
    play(sink, 60, {20.0: start(1), 23.0: end(1), 40.0: start(2, "a/b \u00fc"), 42.0: end(2)})
    sink.close()
    first, second = clips(tmp_path / "clips")
    for path, begun, ended in ((first, 20 - BEFORE, 23 + AFTER), (second, 40 - BEFORE, 42 + AFTER)):
        shown = seconds_shown(path)
        assert shown[0] == pytest.approx(begun, abs=1)
        assert shown[1] == pytest.approx(ended, abs=1.5)
        assert shown[2] == pytest.approx(ended - begun, abs=0.2)
    assert first.name.endswith("_cam-wave-1.mp4")
    assert second.name.endswith("_cam-a-b-\u00fc-2.mp4")


def test_events_near_each_other_have_a_whole_clip_each(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    play(sink, 30, {12.0: start(1), 12.1: end(1), 14.0: start(2), 15.0: end(2)})
    sink.close()
    lengths = [seconds_shown(path)[2] for path in clips(tmp_path)]
    assert lengths == pytest.approx([BEFORE + 0.1 + AFTER, BEFORE + 1 + AFTER], abs=0.2)


def test_what_begins_with_the_run_or_is_cut_by_its_end_is_as_long_as_there_is(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    play(sink, 10, {1.0: start(1), 2.0: end(1), 9.0: start(2)})
    sink.close()
    assert [seconds_shown(path)[2] for path in clips(tmp_path)] == pytest.approx([3, 6], abs=0.2)


def test_an_event_without_end_has_a_clip_that_ends(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    play(sink, 90, {10.0: start(1)})
    sink.close()
    assert seconds_shown(clips(tmp_path)[0])[2] == pytest.approx(BEFORE + LONGEST, abs=0.2)


def test_each_camera_has_its_own_past(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    for second in range(20):
        play(sink, second + 1, {8.0: start(1), 9.0: end(1)}, "yard", second)
        play(sink, second + 1, {8.0: start(1), 9.0: end(1)}, "door", second)
    sink.close()
    assert {path.name.split("_")[1] for path in tmp_path.iterdir()} == {"yard-wave-1.mp4", "door-wave-1.mp4"}
    assert {round(seconds_shown(path)[2]) for path in tmp_path.iterdir()} == {7}


def test_what_waits_is_bounded_in_time_and_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = opened(tmp_path)
    play(sink, 30, {})
    past = sink._cameras["cam"]
    assert len(past.past) == pytest.approx(BEFORE * FPS, abs=2)
    assert past.size == sum(len(waiting.picture) for waiting in past.past) < MOST_BYTES
    half = past.size // 2
    monkeypatch.setattr("stpr.runtime.sinks.clips.MOST_BYTES", half)
    play(sink, 31, {}, first=30)
    assert past.size <= half
    assert len(past.past) < 0.6 * BEFORE * FPS
    sink.close()
    assert not list(tmp_path.iterdir())


def test_where_there_is_no_room_a_clip_is_missed_and_the_next_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stpr.runtime.sinks.store.LOOK_SECONDS", 0.0)
    sink = opened(tmp_path)
    play(sink, 10, {})
    with monkeypatch.context() as full:
        full.setattr("stpr.runtime.sinks.store.has_room", lambda _: False)
        with pytest.raises(MissedError, match="is nearly full; free space, and recording continues"):
            play(sink, 11, {10.0: start(1)}, first=10)
        play(sink, 12, {}, first=11)
    play(sink, 20, {12.0: start(2), 13.0: end(2)}, first=12)
    sink.close()
    assert [path.name.split("_")[1] for path in tmp_path.iterdir()] == ["cam-wave-2.mp4"]
