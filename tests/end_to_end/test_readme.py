"""The README's road, command by command as it is printed, and what must come of it."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LIVE = (ROOT / "tools" / "site" / "pages" / "live.md").read_text(encoding="utf-8")
SCRIPTS = Path(sys.executable).parent


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found.group(1)


INSTALL, TRAIN, EXPORT, CHECK, RUN = block("sh").strip().splitlines()


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    name, *arguments = shlex.split(command)
    return subprocess.run(
        [str(SCRIPTS / name), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the training and the export of the README have been run."""
    folder = tmp_path_factory.mktemp("road")
    for command in (TRAIN, EXPORT):
        done = run(command, folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def joined(road: Path) -> tuple[Path, list[tuple[int, str]]]:
    """Two test clips of every class in one video, and where each begins."""
    video = road / "joined.mp4"
    predictions = road / "runs" / "motions" / "stage-5" / "predictions.csv"
    tool = [sys.executable, str(ROOT / "tools" / "join_clips.py"), str(predictions), str(video), "--per-class", "2"]
    subprocess.run(tool, cwd=road, check=True, capture_output=True)
    with video.with_suffix(".csv").open(encoding="utf-8") as file:
        return video, [(int(row["frame"]), row["label"]) for row in csv.DictReader(file)]


def test_the_install_line_names_what_there_is() -> None:
    assert INSTALL.startswith("pip install --constraint constraints.txt")
    assert (ROOT / "constraints.txt").is_file()


def test_five_stages_are_learnt_and_kept(road: Path) -> None:
    metrics = json.loads((road / "runs/motions/metrics.json").read_text())
    assert len(metrics["classes"]) == 10
    assert metrics["final"] >= 0.9
    assert metrics["backward_forgetting"] <= 0.05
    assert (road / "runs/motions/report/index.html").is_file()


def test_the_device_agrees_with_the_server(road: Path) -> None:
    done = run(CHECK, road)
    assert done.returncode == 0, done.stderr
    assert "FAIL" not in done.stdout
    certificate = json.loads((road / "bundles/motions/stage-5/manifest.json").read_text())["manifest"]["parity"]["fp32"]
    assert certificate["worst_logits"] <= 1e-4
    assert certificate["top1_agreement"] == certificate["routing_agreement"] == 1
    assert certificate["clips"] == 96


def test_every_action_of_a_long_video_is_named_within_its_window(
    road: Path, joined: tuple[Path, list[tuple[int, str]]]
) -> None:
    video, clips = joined
    done = run(f"stpr-run --source {video} --headless --json predictions.jsonl --record seen.mp4", road)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d+ frames, \d+ encoded, 0 dropped", done.stderr)
    lines = [json.loads(line) for line in (road / "predictions.jsonl").read_text().splitlines()]
    ends = [start for start, _ in clips[1:]] + [10**9]
    named = [
        any(line["label"] == label for line in lines if start <= line["frame"] < end + 4)
        for (start, label), end in zip(clips, ends, strict=True)
    ]
    assert sum(named) >= len(named) - 1, list(zip(named, clips, strict=True))


def test_a_bundle_is_judged_on_a_video_that_nobody_cut(road: Path) -> None:
    found = re.search(r"^stpr-bench .* --annotations synthetic:idle --out judged", LIVE, re.MULTILINE)
    assert found is not None
    done = run(found.group(), road)
    assert done.returncode == 0, done.stderr
    figures = json.loads((road / "judged" / "events.json").read_text())
    assert figures["all"]["actions"] == 20
    assert figures["all"]["f1"] >= 0.8
    assert figures["all"]["false_a_minute"] <= 2
    assert figures["all"]["overlap"] >= 0.7
    assert (road / "judged" / "idle.png").is_file()


def test_the_endless_stream_ends_on_request(road: Path) -> None:
    name, *arguments = shlex.split(RUN)
    process = subprocess.Popen(
        [str(SCRIPTS / name), *arguments, "--headless", "--json", "-"],
        cwd=road,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("state") == "known":
            break
    process.send_signal(signal.SIGTERM)
    _, summary = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "latency p50" in summary.strip().splitlines()[-1]


def test_the_python_of_the_readme_runs(road: Path, joined: tuple[Path, list[tuple[int, str]]]) -> None:
    code = block("python").replace('open_source("0")', f"open_source({str(joined[0])!r})")
    done = subprocess.run([sys.executable, "-c", code], cwd=road, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("warming_up ")
    assert any(line.startswith("bob ") for line in lines)
    assert not any("None" in line for line in lines)


@pytest.mark.parametrize(
    "file", ["weights/expert-2.bin", "weights/stage.bin", "golden.npz", "manifest.json", "clip.onnx"]
)
def test_a_flipped_byte_is_refused(road: Path, tmp_path: Path, file: str) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(road / "bundles/motions/stage-5", bundle)
    raw = bytearray((bundle / file).read_bytes())
    raw[len(raw) // 2] ^= 1
    (bundle / file).write_bytes(bytes(raw))
    for command in (f"stpr-check {bundle}", f"stpr-run --source synthetic:motions --headless --bundle {bundle}"):
        done = run(command, road)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1
        assert re.search(f"Error: .*{file}.*copy the bundle again", done.stderr)


def test_a_stage_that_is_not_there(road: Path) -> None:
    done = run("stpr-export --stage 9", road)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("Error: runs/motions has stages 1 to 5, not stage 9")
