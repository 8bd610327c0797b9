from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from stpr.runtime.contract.errors import StprError
from stpr.runtime.decision import BundleId, Prediction
from stpr.runtime.recognizer import Result
from stpr.runtime.sinks.json_lines import JsonLines
from stpr.runtime.sinks.pictures import LIVE_FPS, Pictures, Recording
from stpr.runtime.sinks.text import TextLine
from stpr.runtime.sources import Frame

IMAGE = np.full((48, 64, 3), 99, np.uint8)


def make_result(index: int = 0, label: str | None = "wave", *, said: bool = True, captured_at: float = 0.0) -> Result:
    prediction = Prediction(
        time="2026-01-01T12:34:56.789+02:00",
        frame=index,
        label=label,
        score=0.75 if label else 0.0,
        top=((label, 0.75), ("jump", 0.25)) if label else (),
        routing={"1": 0.4, "2": 0.6} if label else {},
        state="known" if label else "warming_up",
        latency_ms=12.5,
        bundle=BundleId(name="toy", stage=2, digest="ab"),
    )
    return Result(Frame(IMAGE, index, captured_at), prediction if said else None, prediction, 15.0)


def test_json_has_one_complete_line_at_once_per_prediction(tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    sink = JsonLines(str(target))
    for index in range(3):
        sink.write(make_result(index))
        sink.write(make_result(index, said=False))
        assert [json.loads(line)["frame"] for line in target.read_text().splitlines()] == list(range(index + 1))
    sink.close()
    assert json.loads(target.read_text().splitlines()[0]) == {
        "time": "2026-01-01T12:34:56.789+02:00",
        "frame": 0,
        "label": "wave",
        "score": 0.75,
        "top": [["wave", 0.75], ["jump", 0.25]],
        "routing": {"1": 0.4, "2": 0.6},
        "state": "known",
        "latency_ms": 12.5,
        "bundle": {"name": "toy", "stage": 2, "digest": "ab"},
    }


def test_json_appends_to_what_an_earlier_run_wrote(tmp_path: Path) -> None:
    for index in range(2):
        sink = JsonLines(str(tmp_path / "out.jsonl"))
        sink.write(make_result(index))
        sink.close()
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 2


def test_json_that_can_not_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StprError, match=r"can't write predictions to .*no/out\.jsonl \(No such file or directory\)"):
        JsonLines(str(tmp_path / "no" / "out.jsonl"))
    if Path("/dev/full").exists():
        with closing(JsonLines("/dev/full")) as sink, pytest.raises(StprError, match=r"/dev/full \(No space left"):
            sink.write(make_result())


def test_text_is_a_line_per_change_or_one_line_that_is_rewritten(capsys: pytest.CaptureFixture[str]) -> None:
    labels = [None, None, "wave", "wave", "jump"]
    plain, terminal = TextLine(rewrite=False), TextLine(rewrite=True)
    for label in labels:
        plain.write(make_result(label=label))
    plain.close()
    assert capsys.readouterr().out.splitlines() == ["12:34:56  wave 75%  stage 2", "12:34:56  jump 75%  stage 2"]
    for label in labels:
        terminal.write(make_result(label=label))
    terminal.close()
    said = capsys.readouterr().out
    assert said.count("\r") == len(labels)
    assert said.count("\n") == 1
    assert "warming up" in said


def test_text_says_what_is_unknown_once(capsys: pytest.CaptureFixture[str]) -> None:
    known, waiting = make_result(), make_result(label=None)
    assert known.prediction is not None
    strange = msgspec.structs.replace(known.prediction, label=None, score=0.0, state="unknown")
    unknown = Result(known.frame, strange, strange, known.fps)
    sink = TextLine(rewrite=False)
    for result in (waiting, unknown, unknown, known, unknown):
        sink.write(result)
    said = [line.split("  ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert said == ["unknown, most like wave", "wave 75%  stage 2", "unknown, most like wave"]


def read_back(path: Path) -> tuple[int, float, tuple[int, int]]:
    video = cv2.VideoCapture(str(path))
    count = 0
    while video.grab():
        count += 1
    size = int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
    return count, video.get(cv2.CAP_PROP_FPS), size


@pytest.mark.parametrize("fps", [10.0, 29.97])
def test_a_file_is_recorded_frame_by_frame(tmp_path: Path, fps: float) -> None:
    sink = Pictures([Recording(tmp_path / "out.mp4", fps=fps)])
    for index in range(25):
        sink.write(make_result(index, captured_at=index / fps))
    sink.close()
    count, rate, size = read_back(tmp_path / "out.mp4")
    assert (count, size) == (25, (640, 480))
    assert rate == pytest.approx(fps, rel=1e-3)


@pytest.mark.parametrize("rate", [7.0, 15.0, 60.0])
def test_a_second_of_a_camera_stays_a_second(tmp_path: Path, rate: float) -> None:
    output = Recording(tmp_path / "out.mp4", fps=None)
    for index in range(round(3 * rate)):
        output.show(IMAGE, 1000 + index / rate)
    output.close()
    count, fps, _ = read_back(tmp_path / "out.mp4")
    assert fps == pytest.approx(LIVE_FPS)
    assert count / fps == pytest.approx(3, abs=2 / rate)


def test_an_outage_leaves_no_hole_and_another_size_is_fitted(tmp_path: Path) -> None:
    output = Recording(tmp_path / "out.mp4", fps=10)
    for start, image in ((0, IMAGE), (3600, IMAGE[:40, :40])):
        for index in range(10):
            output.show(image, start + index / 10)
    output.close()
    assert read_back(tmp_path / "out.mp4")[0] == 20


@pytest.mark.parametrize(("name", "message"), [("no/out.mp4", "there is no folder"), ("out.xyz", r"name a \.mp4 file")])
def test_a_video_that_can_not_be_written_is_one_line(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(StprError, match=message):
        Recording(tmp_path / name, fps=10).show(IMAGE, 0.0)
