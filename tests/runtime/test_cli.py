"""`stpr-run` as its users meet it: real processes, a real bundle, real videos."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from stpr.runtime.cli import run
from stpr.runtime.contract.bundle import open_bundle
from stpr.runtime.contract.delta import write_delta
from tests.factories import make_bundle, make_video
from tests.runtime.updates.bundles import make_next
from tests.runtime.varying import make_varying

MAIN = "from stpr.runtime.entry import run; run()"
SUMMARY = (
    r"(\d+) frames, (\d+) encoded, 0 dropped, 0 reconnects, [\d.]+ fps, latency p50 [\d.]+, p95 [\d.]+, p99 [\d.]+ ms"
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("work") / "bundles")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("videos") / "clip.avi", frames=24, fps=8)


def stpr_run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", MAIN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=cwd, check=False)


def test_the_newest_bundle_watches_a_file(bundle: Path, video: Path) -> None:
    done = stpr_run("--source", video, "--headless", "--json", "-", cwd=bundle.parents[2])
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["state"] for line in lines] == ["warming_up"] * 3 + ["known"] * 9
    assert list(lines[-1]) == [
        "time",
        "frame",
        "label",
        "score",
        "top",
        "routing",
        "state",
        "latency_ms",
        "bundle",
        "media_time",
        "source",
    ]
    assert lines[-1]["bundle"]["name"] == "toy"
    assert lines[-1]["source"] == str(video)
    assert [line["media_time"] for line in lines] == [line["frame"] / 8 for line in lines]
    assert lines[-1]["label"] in {"wave", "jump", "turn"}
    start, end = done.stderr.splitlines()
    assert start.endswith(f"stage 2 on onnxruntime CPUExecutionProvider, watching {video}")
    counts = re.fullmatch(SUMMARY, end)
    assert counts is not None, end
    assert (counts[1], counts[2]) == ("24", "12")


def test_pictures_are_recorded_and_a_machine_without_a_window_says_so_once(
    bundle: Path, video: Path, tmp_path: Path
) -> None:
    done = stpr_run("--source", video, "--bundle", bundle, "--record", tmp_path / "out.mp4")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("running headless") == 1
    assert cv2.VideoCapture(str(tmp_path / "out.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 24
    assert re.search(r"^\d\d:\d\d:\d\d  (wave|jump|turn) \d+%  stage [12]$", done.stdout, re.MULTILINE)


def test_a_pause_in_a_file_is_told_in_its_time_and_not_recorded(bundle: Path, tmp_path: Path) -> None:
    out, video = tmp_path / "out.jsonl", make_varying(tmp_path / "pause.mp4", [40] * 49 + [60_000] + [40] * 50)
    done = stpr_run("--source", video, "--bundle", bundle, "--headless", "--json", out, "--record", tmp_path / "a.mp4")
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in out.read_text().splitlines()]
    assert all(line["media_time"] < 2 or line["media_time"] > 61.9 for line in told)
    assert [line["state"] for line in told].count("warming_up") == 6
    recording = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert recording.get(cv2.CAP_PROP_FPS) == 25
    assert recording.get(cv2.CAP_PROP_FRAME_COUNT) == 100


def test_names_that_are_no_text_go_in_and_out(bundle: Path, video: Path, tmp_path: Path) -> None:
    source = tmp_path / "caf\udce9.avi"
    source.write_bytes(video.read_bytes())
    names = [tmp_path / f"\udce9{suffix}" for suffix in (".jsonl", ".mp4")]
    done = stpr_run("--source", source, "--bundle", bundle, "--headless", "--json", names[0], "--record", names[1])
    assert done.returncode == 0, done.stderr
    assert json.loads(names[0].read_text().splitlines()[-1])["source"] == str(tmp_path / r"caf\xe9.avi")
    assert names[1].stat().st_size > 1000


def test_a_bad_picture_of_many_is_told_and_counted(bundle: Path, tmp_path: Path) -> None:
    for number in range(100):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((48, 64, 3), number, np.uint8))
    (tmp_path / "60.png").write_bytes(b"no image")
    done = stpr_run("--source", tmp_path, "--bundle", bundle, "--headless", "--json", "-")
    assert done.returncode == 0, done.stderr
    _, told, summary = done.stderr.splitlines()
    assert told.endswith(f" WARNING {tmp_path / '60.png'} can't be read and is skipped: it is damaged or not an image.")
    assert re.fullmatch(SUMMARY + ", 1 unreadable", summary)
    assert [json.loads(line)["state"] for line in done.stdout.splitlines()].count("warming_up") == 3


def test_no_output_destroys_what_is_watched(bundle: Path, video: Path, tmp_path: Path) -> None:
    source, link, hard = tmp_path / "clip.avi", tmp_path / "link.mp4", tmp_path / "hard.mp4"
    source.write_bytes(video.read_bytes())
    link.symlink_to(source)
    hard.hardlink_to(source)
    for option in ("--record", "--json"):
        for target in (link, hard, f"../{tmp_path.name}/clip.avi"):
            done = stpr_run("--source", source, "--bundle", bundle, "--headless", option, target, cwd=tmp_path)
            assert done.returncode == 2
            assert done.stderr.splitlines()[-1] == (
                f"Error: {option} {target} is the source {source}, which would be destroyed; name another file."
            )
    with source.open("ab") as appended:
        command = [sys.executable, "-c", MAIN, "--source", "clip.avi", "--bundle", str(bundle), "--headless"]
        piped = subprocess.run(
            command, stdout=appended, stderr=subprocess.PIPE, text=True, cwd=tmp_path, timeout=30, check=False
        )
    assert piped.returncode == 2
    assert "standard output is the source clip.avi" in piped.stderr
    assert source.read_bytes() == video.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.avi", "hard.mp4", "link.mp4"]


def test_an_earlier_recording_is_not_recorded_over(bundle: Path, video: Path, tmp_path: Path) -> None:
    earlier = tmp_path / "out.mp4"
    earlier.write_bytes(b"an hour that will not come back")
    done = stpr_run("--source", video, "--bundle", bundle, "--headless", "--record", earlier)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"Error: {earlier} exists already, and recording would overwrite it; name another file, or remove that one."
    )
    assert earlier.read_bytes() == b"an hour that will not come back"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_a_run_cleanly(bundle: Path, tmp_path: Path, number: signal.Signals) -> None:
    out, video = tmp_path / "out.jsonl", tmp_path / "out.mp4"
    arguments = ["--source", "synthetic:motions", "--bundle", bundle, "--headless", "--json", out, "--record", video]
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 15
    while not (out.exists() and b'"known"' in out.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 0, said
    assert re.fullmatch(SUMMARY.replace("0 dropped", r"\d+ dropped"), said.splitlines()[-1])
    told = [json.loads(line) for line in out.read_text().splitlines()]
    assert {line["media_time"] for line in told} == {None}
    assert cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FRAME_COUNT) > 10


def test_an_update_takes_over_a_running_camera_and_a_signal_rolls_it_back(bundle: Path, tmp_path: Path) -> None:
    watched, out = tmp_path / "bundles", tmp_path / "out.jsonl"
    shutil.copytree(bundle, watched / "toy" / "stage-2")
    new = make_next(bundle, tmp_path / "server" / "stage-3", other_encoder=True)
    update = write_delta(open_bundle(bundle), open_bundle(new), tmp_path / "server" / "update-2-to-3")
    arguments = ["--source", "synthetic:motions", "--watch", watched, "--headless", "--json", out]
    process = subprocess.Popen([sys.executable, "-c", MAIN, *map(str, arguments)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    wanted = iter(["watching", "stage 3 from frame", "stage 2 from frame"])
    told = [process.stderr.readline()]
    assert next(wanted) in told[0]
    shutil.copytree(update, watched / update.name)
    for part in wanted:
        if part.startswith("stage 2"):
            process.send_signal(signal.SIGUSR1)
        told.append(process.stderr.readline())
        assert part in told[-1], told
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 0, said
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [stage for stage, _ in itertools.groupby(line["bundle"]["stage"] for line in lines)] == [2, 3, 2]
    assert [line["state"] for line in lines].count("warming_up") == 3
    assert json.loads((watched / "updates.json").read_text())["refused"] == {open_bundle(new).digest: "rolled back"}


def test_a_missing_camera_is_one_line_and_code_2(bundle: Path) -> None:
    if Path("/dev/video0").exists():
        pytest.skip("this machine has a camera")
    done = stpr_run("--camera", "0", "--bundle", bundle)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "Error: no camera 0 here: /dev/video0 does not exist; try --source FILE or --source synthetic:motions.\n"
    )


def test_a_file_cut_short_says_what_was_seen_and_what_is_wrong(bundle: Path, video: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.avi"
    cut.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    done = stpr_run("--source", cut, "--bundle", bundle, "--headless", "--json", "-")
    assert done.returncode == 2
    assert done.stdout.count("\n") > 0
    summary, error = done.stderr.splitlines()[-2:]
    assert re.match(r"\d+ frames, ", summary)
    assert re.fullmatch(r"Error: .*cut\.avi ended after \d+ of the 24 frames .*", error)


def test_a_source_shorter_than_a_clip_says_why_nothing_was_predicted(bundle: Path, tmp_path: Path) -> None:
    short = make_video(tmp_path / "short.avi", frames=4, fps=8)
    done = stpr_run("--source", short, "--bundle", bundle, "--headless")
    assert done.returncode == 0
    assert "no prediction: the source never gave frames for an unbroken 1 s, the span of a clip" in done.stderr


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video whose predictions fill a small pipe several times over."""
    return make_video(tmp_path_factory.mktemp("videos") / "long.avi", frames=400, fps=8)


def start_into_a_small_pipe(*arguments: str | Path) -> subprocess.Popen[str]:
    """A run whose standard output is a pipe of one page, which nobody reads yet."""
    command = [sys.executable, "-c", MAIN, "--headless", "--json", "-", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    fcntl.fcntl(process.stdout.fileno(), fcntl.F_SETPIPE_SZ, 4096)
    return process


def test_a_reader_that_comes_late_gets_every_line_of_a_file(bundle: Path, long_video: Path) -> None:
    process = start_into_a_small_pipe("--source", long_video, "--bundle", bundle)
    time.sleep(3)  # longer than a live run would wait for its sinks
    assert process.poll() is None
    told, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert [json.loads(line)["frame"] for line in told.splitlines()] == list(range(1, 400, 2))
    assert "missed" not in said


@pytest.mark.parametrize("kind", ["file", "live"])
def test_a_reader_that_never_reads_does_not_hold_the_end(bundle: Path, long_video: Path, kind: str) -> None:
    source = long_video if kind == "file" else "synthetic:motions"
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writing, b"x" * 4096)
    command = [
        sys.executable,
        "-c",
        MAIN,
        "--headless",
        "--json",
        "-",
        "--source",
        str(source),
        "--bundle",
        str(bundle),
    ]
    process = subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    process.stderr.readline()  # the sources are open
    time.sleep(2)  # it hangs in its first line by then
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 0
    assert time.monotonic() - begun < 4  # two seconds for the sink, and some for a busy machine
    told, summary = process.stderr.read().splitlines()
    assert told.endswith(" WARNING json hangs and is abandoned; its output may be incomplete.")
    assert re.search(r", json missed \d+ results$", summary)
    process.stderr.close()
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("kind", ["file", "live"])
def test_a_reader_that_has_seen_enough_ends_the_run_quietly(bundle: Path, long_video: Path, kind: str) -> None:
    source = long_video if kind == "file" else "synthetic:motions"
    process = start_into_a_small_pipe("--source", source, "--bundle", bundle)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["state"] == "warming_up"
    process.stdout.close()
    assert process.wait(timeout=20) == 1
    assert process.stderr is not None
    start, end = process.stderr.read().splitlines()
    assert "watching" in start
    assert re.match(r"\d+ frames, ", end)
    process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full")
def test_a_full_disk_stops_the_output_and_not_recognition(bundle: Path, video: Path, tmp_path: Path) -> None:
    done = stpr_run(
        "--source", video, "--bundle", bundle, "--headless", "--json", "/dev/full", "--record", tmp_path / "a.mp4"
    )
    assert done.returncode == 2
    _, told, summary, error = done.stderr.splitlines()
    assert told.endswith(
        " ERROR   json stopped, recognition continues: can't write predictions to /dev/full (No space left on device);"
        " free space."
    )
    assert re.fullmatch(SUMMARY + ", json missed 12 results", summary)
    assert error == "Error: json stopped before the end, see above; fix that and run again."
    assert cv2.VideoCapture(str(tmp_path / "a.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 24
    assert re.search(r" (wave|jump|turn) \d+%", done.stdout)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full")
def test_a_run_that_nothing_listens_to_ends(bundle: Path) -> None:
    arguments = ["--source", "synthetic:motions", "--bundle", str(bundle), "--headless", "--json", "-"]
    command = [sys.executable, "-c", MAIN, *arguments]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "Error: all outputs have stopped (json), see above."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--camera N or --source URI"),
        (["--camera", "0", "--camera", "0"], "a source is named twice; name each once."),
        (["--camera", "-1"], "-1 is not in the range"),
        (["--source", "a.mp4", "--bundle", "nowhere"], "nowhere is not a bundle"),
        (["--source", "a.mp4"], "no bundle under bundles/"),
        (["--source", "a.mp4", "--watch", "nowhere"], "there is no folder nowhere to watch"),
    ],
)
def test_what_is_asked_wrongly_ends_with_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(run, arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_without_opencv_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    result = CliRunner().invoke(run, ["--source", "a.mp4"])
    assert result.exit_code == 2
    assert "OpenCV can't be imported here" in result.output
    assert 'pip install "stpr[server]"' in result.output


def test_several_sources_are_watched_at_once_and_named(bundle: Path, video: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.avi"
    other.write_bytes(video.read_bytes())
    done = stpr_run("--source", video, "--source", other, "--bundle", bundle, "--headless", "--json", "-")
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    for name in (video, other):
        own = [line for line in told if line["source"] == str(name)]
        assert [line["frame"] for line in own] == [line["frame"] for line in told if line["source"] == str(video)]
        assert [line["state"] for line in own].count("warming_up") == 3
    start, *ends = done.stderr.splitlines()
    assert start.endswith(f"watching {video}, {other}")
    assert [end.partition(": ")[0] for end in ends] == [str(video), str(other)]
    assert all(re.fullmatch(SUMMARY, end.partition(": ")[2]) for end in ends)
    done = stpr_run("--source", video, "--source", other, "--bundle", bundle, "--headless")
    assert {line.split()[1] for line in done.stdout.splitlines()} == {str(video), str(other)}


def test_a_source_of_several_that_dies_leaves_the_others(bundle: Path, video: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.avi"
    cut.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    done = stpr_run("--source", cut, "--source", video, "--bundle", bundle, "--headless", "--json", "-")
    assert done.returncode == 2
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert max(line["frame"] for line in told if line["source"] == str(video)) >= 22
    assert f"{cut} has ended, the others continue: " in done.stderr


def test_several_are_not_recorded_into_one(bundle: Path, video: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((48, 64, 3), np.uint8))
    out = tmp_path / "out.mp4"
    done = stpr_run("--source", video, "--source", tmp_path, "--bundle", bundle, "--headless", "--record", out)
    assert done.returncode == 2
    assert "--record takes one source" in done.stderr
    assert not out.exists()


def test_a_password_on_the_command_line_is_warned_of_and_a_login_is_read_from_a_file(
    bundle: Path, tmp_path: Path
) -> None:
    done = stpr_run("--source", "http://me:secret@127.0.0.1:9/live", "--bundle", bundle, "--headless")
    assert done.returncode == 2
    assert "can be read by every user of this machine (ps); name it with --login FILE" in done.stderr
    assert "refused, nothing listens at 127.0.0.1:9" in done.stderr
    assert "secret" not in done.stderr
    (tmp_path / "run.toml").write_text('source = "http://me:secret@127.0.0.1:9/live"\n')  # where ps does not look
    done = stpr_run("--config", tmp_path / "run.toml", "--bundle", bundle, "--headless")
    assert "refused, nothing listens at 127.0.0.1:9" in done.stderr
    assert "secret" not in done.stderr
    assert "(ps)" not in done.stderr
    (tmp_path / "login").write_text("me\n")
    source = ("--source", "http://127.0.0.1:9/live", "--login", tmp_path / "login")
    done = stpr_run(*source, "--bundle", bundle, "--headless")
    assert "login holds 1 lines; write 2 lines there" in done.stderr
