"""`stpr-record`: real processes, real videos, a real terminal; what it leaves is what `stpr-train FOLDER` reads."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from stpr.runtime.contract.durable import write_new_file
from stpr.train.datasets.class_folders import read_class_folders
from tests.factories import make_video

MAIN = [sys.executable, "-c", "from stpr.runtime.cli import record; record()"]


def stpr_record(*arguments: str | Path | float, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [*MAIN, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=30, cwd=cwd, check=False, stdin=subprocess.DEVNULL
    )


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds."""
    return make_video(tmp_path_factory.mktemp("film") / "film.mp4", frames=100, fps=10.0)


def test_a_film_becomes_clips_that_training_reads(film: Path, tmp_path: Path) -> None:
    for label, seconds in (("wave", 2), ("jump", 1.5)):
        done = stpr_record(
            "--source",
            film,
            "--label",
            label,
            "--seconds",
            seconds,
            "--count",
            3,
            "--countdown",
            0.5,
            "--yes",
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        lines = done.stderr.splitlines()
        assert [re.match(r"\d/\d  \d+ frames, [\d.]+ s", line) is not None for line in lines[1:4]] == [True] * 3
        assert lines[4] == f"kept: 3; clips in videos/{label}: 3"
        assert lines[-1] == "next:  stpr-train videos/"
        assert ("another --label" in done.stderr) == (label == "wave")
        clips = sorted((tmp_path / "videos" / label).iterdir())
        counts = [cv2.VideoCapture(str(clip)).get(cv2.CAP_PROP_FRAME_COUNT) for clip in clips]
        assert counts == [10 * seconds] * 3
    videos, _ = read_class_folders(tmp_path / "videos")
    assert {video.label for video in videos} == {"wave", "jump"}
    assert len({video.recording for video in videos}) == 2  # one of each call
    assert {video.split for video in videos if video.label == "wave"} == {"train", "test"}


def test_the_end_of_a_film_leaves_no_half_clip(film: Path, tmp_path: Path) -> None:
    done = stpr_record("--source", film, "--label", "wave", "--seconds", 4, "--countdown", 0, "--yes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{film} ended before clip 3 was complete" in done.stderr
    assert len([*(tmp_path / "videos/wave").iterdir()]) == 2


def test_a_live_source_counts_down_and_keeps_its_rate(tmp_path: Path) -> None:
    done = stpr_record(
        "--source",
        "synthetic:motions",
        "--label",
        "mix",
        "--seconds",
        1,
        "--count",
        1,
        "--countdown",
        0,
        "--yes",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[1:3] == ["1 …", "go"]
    (clip,) = (tmp_path / "videos/mix").iterdir()
    device = cv2.VideoCapture(str(clip))
    frames, fps = device.get(cv2.CAP_PROP_FRAME_COUNT), device.get(cv2.CAP_PROP_FPS)
    assert frames / fps == pytest.approx(1.0, abs=0.15)
    assert fps == pytest.approx(16, rel=0.15)


def test_each_clip_is_asked_about_on_a_terminal(film: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [*MAIN, "--source", str(film), "--label", "wave", "--seconds", "1", "--countdown", "0"]
    process = subprocess.Popen(command, stdin=theirs, stderr=subprocess.PIPE, cwd=tmp_path, text=True)
    os.write(ours, b"what\n\nn\ny\nq\n")
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert said.count("keep it?") == 5  # what is no answer is asked again
    assert "kept: 2, 2 discarded; clips in videos/wave: 2" in said
    os.close(ours)
    os.close(theirs)


def test_a_signal_ends_it_while_it_waits_for_an_answer(film: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [*MAIN, "--source", str(film), "--label", "wave", "--seconds", "1", "--countdown", "0"]
    process = subprocess.Popen(command, stdin=theirs, stderr=subprocess.PIPE, cwd=tmp_path)
    assert process.stderr is not None
    said = b""
    while b"keep it?" not in said:
        said += process.stderr.read(1)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=30)[1].decode()
    assert process.returncode == 0
    assert time.monotonic() - begun < 2
    assert rest.splitlines()[-1] == "kept: 0, 1 discarded; clips in videos/wave: 0"
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--label", "wave"], "name what to record with either --camera N or --source URI"),
        (["--label", "a/b", "--source", "FILM", "--yes"], "--label 'a/b' can't be the name of a folder"),
        (["--label", ".git", "--source", "FILM", "--yes"], "--label '.git' can't be the name of a folder"),
        (["--label", " ", "--source", "FILM", "--yes"], "--label ' ' can't be the name of a folder"),
        (["--label", "test", "--source", "FILM", "--yes"], "--label test would be taken for the test split"),
        (["--label", "wave", "--source", "FILM"], "add --yes to keep every clip"),
        (["--label", "wave", "--source", "nowhere.mp4", "--yes"], "there is no file or folder nowhere.mp4"),
        (["--label", "wave", "--source", "FILM", "--yes", "--out", "FILM"], "can't be written"),
        (["--label", "wave", "--camera", "93", "--yes"], "no camera 93 here"),
    ],
)
def test_what_can_not_be_is_one_line(film: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    done = stpr_record(*[str(film) if word == "FILM" else word for word in arguments], cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_parted_folder_asks_for_the_part(film: Path, tmp_path: Path) -> None:
    (tmp_path / "videos" / "train").mkdir(parents=True)
    done = stpr_record("--label", "wave", "--source", film, "--yes", cwd=tmp_path)
    assert done.stderr.splitlines()[-1].endswith("name the part to record for, such as --out videos/train.")
    done = stpr_record(
        "--label", "wave", "--source", film, "--yes", "--out", "videos/train", "--count", 1, cwd=tmp_path
    )
    assert done.stderr.splitlines()[-1] == "next:  stpr-train videos/"


def test_what_is_there_is_never_written_over(tmp_path: Path) -> None:
    target = tmp_path / "clip.mp4"
    assert write_new_file(target, b"one").read_bytes() == b"one"
    with pytest.raises(FileExistsError):
        write_new_file(target, b"two")
    assert target.read_bytes() == b"one"
    assert [*tmp_path.iterdir()] == [target]
