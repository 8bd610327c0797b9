"""`stpr-bench` on a real bundle and real videos."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from stpr.runtime.bench import picture_names
from stpr.runtime.cli import bench
from tests.runtime.bench.conftest import film


def stpr_bench(*arguments: str | Path) -> Result:
    return CliRunner().invoke(bench, [*map(str, arguments), "--threads", "1"])


def row(output: str, name: str) -> list[str]:
    return next(line for line in output.splitlines() if line.startswith(f"{name} ")).split()


def test_a_bundle_is_judged_by_video_and_by_class(telling: Path, filmed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = stpr_bench(telling, "--annotations", filmed / "truth.csv", "--out", out)
    assert done.exit_code == 0, done.output
    assert row(done.stdout, "kitchen.avi")[1:8] == ["2", "2", "2", "1.000", "1.000", "1.000", "0.00"]
    assert row(done.stdout, "garden.avi")[1:8] == ["1", "0", "0", "-", "0.000", "0.000", "0.00"]
    assert row(done.stdout, "all")[1:8] == ["3", "2", "2", "1.000", "0.667", "0.800", "0.00"]
    assert row(done.stdout, "wave")[1:7] == ["3", "2", "2", "1.000", "0.667", "0.800"]
    assert "within its action or 1.1 s after" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("240 frames, 120 encoded, 114 predictions, ")
    assert "1/2 kitchen.avi" in done.stderr
    found = json.loads((out / "events.json").read_text())
    assert (found["schema"], found["tolerance"], found["not_learnt"]) == (1, 1.1, {})
    assert found["bundle"]["name"] == "toy"
    assert len(found["bundle"]["digest"]) == 64
    assert list(found["videos"]) == ["kitchen.avi", "garden.avi"]
    assert found["all"]["f1"] == pytest.approx(0.8)
    assert found["all"]["classes"]["wave"]["right"] == 2
    # Said once the peak was over for 0.75 s; the bright spans fill the window of a second before they end.
    assert -1.2 < found["all"]["delay"]["median"] < 1.1
    assert found["cost"]["frames"] == 240
    assert 0 < found["cost"]["latency_ms"]["p50"] <= found["cost"]["latency_ms"]["p99"]
    assert 20 < found["cost"]["peak_memory_mb"] < 5000
    for name in ("kitchen", "garden"):
        assert np.asarray(cv2.imread(str(out / f"{name}.png"))).shape[1] == 1600


def test_the_figures_go_to_a_file_or_alone_to_standard_output(telling: Path, filmed: Path, tmp_path: Path) -> None:
    target = tmp_path / "figures.json"
    assert stpr_bench(telling, "--annotations", filmed / "truth.csv", "--json", target).exit_code == 0
    command = [sys.executable, "-c", "from stpr.runtime.cli import bench; bench()", str(telling)]
    command += ["--annotations", str(filmed / "truth.csv"), "--json", "-", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said, kept = json.loads(done.stdout), json.loads(target.read_text())
    assert said["all"] == kept["all"]
    assert said["all"]["events"] == 2
    assert "kitchen.avi" in done.stderr


@pytest.mark.parametrize(("tolerance", "right"), [("0", "0"), ("9", "2")])
def test_the_tolerance_can_be_said(telling: Path, tmp_path: Path, tolerance: str, right: str) -> None:
    film(tmp_path / "a.avi", 20.0, [(4, 6), (12, 14)])
    (tmp_path / "truth.csv").write_text("file,start,end,label\na.avi,2,3,wave\na.avi,10,11,wave\n")
    done = stpr_bench(telling, "--annotations", tmp_path / "truth.csv", "--tolerance", tolerance)
    assert done.exit_code == 0, done.output
    assert row(done.stdout, "a.avi")[3] == right


def test_what_each_wait_gives_is_what_a_run_with_it_gives(telling: Path, filmed: Path, tmp_path: Path) -> None:
    truth = ("--annotations", filmed / "truth.csv")
    done = stpr_bench(telling, *truth, "--waits", "0,0.5,0.75", "--events", "linger=0.25", "--out", tmp_path / "a")
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "a" / "events.json").read_text())
    assert found["settings"]["linger"] == 0.25
    assert list(found["waits"]) == ["0", "0.5", "0.75"]
    assert found["waits"]["0.75"] == found["all"]
    assert row(done.stdout, "0.5 s")[0:3] == ["0.5", "s", "3"]
    quick = stpr_bench(telling, *truth, "--events", "wait=0", "--events", "linger=0.25", "--out", tmp_path / "b")
    assert quick.exit_code == 0, quick.output
    alone = json.loads((tmp_path / "b" / "events.json").read_text())
    assert alone["settings"]["wait"] == 0
    assert found["waits"]["0"] == alone["all"]
    assert alone["all"]["delay"]["median"] < found["all"]["delay"]["median"] - 0.2


def test_what_was_not_learnt_is_named_and_counts_as_false(telling: Path, tmp_path: Path) -> None:
    film(tmp_path / "a.avi", 20.0, [(4, 6), (12, 14)])
    (tmp_path / "truth.csv").write_text("file,start,end,label\na.avi,4,6,wave\na.avi,12,14,juggle\n")
    done = stpr_bench(telling, "--annotations", tmp_path / "truth.csv", "--out", tmp_path / "out")
    assert "not learnt by this bundle: 'juggle' (actions: 1); events during them count as false" in done.stderr
    assert row(done.stdout, "a.avi")[1:8] == ["1", "2", "1", "0.500", "1.000", "0.667", "3.02"]
    assert row(done.stdout, "juggle") == ["juggle", "(not", "learnt)", "1", *"-----", "wave", "1"]
    assert json.loads((tmp_path / "out" / "events.json").read_text())["not_learnt"] == {"juggle": 1}


def test_figures_are_not_written_over_what_is_judged(telling: Path, filmed: Path, tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(filmed / "kitchen.avi")
    before = {path: path.read_bytes() for path in filmed.iterdir()}
    for target in (filmed / "truth.csv", filmed / "kitchen.avi", tmp_path / "link.json"):
        done = stpr_bench(telling, "--annotations", filmed / "truth.csv", "--json", target)
        assert done.exit_code == 2
        assert re.search(rf"Error: --json {target} is the (list|video) .*, which would be destroyed; name", done.stderr)
    out = tmp_path / "out"
    done = stpr_bench(telling, "--annotations", filmed / "truth.csv", "--out", out, "--json", out / "events.json")
    assert done.exit_code == 2
    assert "events.json are the same file" in done.stderr
    assert {path: path.read_bytes() for path in filmed.iterdir()} == before


def test_a_video_in_which_nothing_happens_counts_its_false_events(telling: Path, tmp_path: Path) -> None:
    film(tmp_path / "a.avi", 20.0, [(4, 6)])
    (tmp_path / "truth.csv").write_text("file,start,end,label\na.avi,,,\n")
    done = stpr_bench(telling, "--annotations", tmp_path / "truth.csv")
    assert row(done.stdout, "a.avi")[1:8] == ["0", "1", "0", "0.000", "-", "0.000", "3.02"]


def test_videos_may_lie_elsewhere(telling: Path, filmed: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    shutil.move(filmed / "truth.csv", tmp_path / "lists")
    done = stpr_bench(telling, "--annotations", tmp_path / "lists" / "truth.csv", "--videos", filmed)
    assert done.exit_code == 0, done.output


def test_actions_that_overlap_are_counted_and_said(telling: Path, filmed: Path) -> None:
    with (filmed / "truth.csv").open("a") as file:
        file.write("kitchen.avi,5,7,jump\n")
    done = stpr_bench(telling, "--annotations", filmed / "truth.csv")
    assert "kitchen.avi: 1 actions begin before another has ended, the first 'jump' at 5 s; each counts" in done.stderr
    assert row(done.stdout, "kitchen.avi")[1:4] == ["3", "2", "2"]


def test_the_embedded_streams_are_written_and_judged(telling: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = stpr_bench(telling, "--annotations", "synthetic:back_to_back", "--actions", "3", "--out", out)
    assert done.exit_code == 0, done.output
    assert done.stderr.count("not learnt by this bundle") == 3
    assert row(done.stdout, "back_to_back.mp4")[1] == "0"
    # What was written can be given as it is.
    again = stpr_bench(telling, "--annotations", out / "synthetic" / "events.csv")
    assert again.stdout.splitlines()[:5] == done.stdout.splitlines()[:5]


def test_several_seeds_end_with_their_spread(telling: Path, tmp_path: Path) -> None:
    options = ["--annotations", "synthetic:back_to_back", "--actions", "2", "--seeds", "2", "--split", "train"]
    done = stpr_bench(telling, *options, "--json", tmp_path / "events.json")
    assert done.exit_code == 0, done.output
    assert row(done.stdout, "seed-1/back_to_back.mp4")[1] == "0"
    assert row(done.stdout, "back_to_back")[1:] == ["-", "0.00", "±", "0.00", "-", "-"]  # nobody stands or is known
    assert json.loads((tmp_path / "events.json").read_text())["seeds"]["back_to_back"]["false_a_minute"] == {
        "mean": 0.0,
        "deviation": 0.0,
    }


def test_without_annotations_speed_alone_is_measured(mute: Path, tmp_path: Path) -> None:
    done = stpr_bench(mute, "--seconds", "3")
    assert done.exit_code == 0, done.output
    assert "no --annotations: measuring speed only, on 3 s of the embedded stream" in done.stderr
    *table, _, line = done.stdout.splitlines()
    assert [row.split("  ")[0] for row in table] == ["ms of one call", "decoding", "encoder", "head", "all else"]
    assert line.startswith("48 frames, 12 encoded, 9 predictions, ")
    more = stpr_bench(mute, "--seconds", "3", "--cameras", "4", "--json", tmp_path / "cost.json")
    cost = json.loads((tmp_path / "cost.json").read_text())["cost"]
    assert (cost["cameras"], cost["frames"], cost["encoded"], cost["predictions"]) == (4, 192, 48, 36)
    assert list(cost["parts"]) == ["decoding", "encoder", "head", "all else"]
    for took in cost["parts"].values():
        assert 0 < took["p50"] <= took["p95"] <= took["p99"]
    assert re.search(r"192 frames, 48 encoded, 36 predictions, 4 cameras at [\d.]+ fps each, ", more.stdout)


def test_a_video_shorter_than_a_clip_says_so(mute: Path) -> None:
    assert "no prediction: all videos are shorter than a clip" in stpr_bench(mute, "--seconds", "0.5").stdout


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("none.avi,1,2,wave", r"names none.avi, not found in .*videos; correct the name, or set --videos"),
        ("kitchen.avi,19,21,wave", "'wave' from 19 to 21 s lies beyond the end of kitchen.avi, which is 20.0 s long"),
        ("truth.csv,1,2,wave", "truth.csv can't be decoded"),
    ],
)
def test_what_can_not_be_watched_is_one_line_before_anything_is(
    telling: Path, filmed: Path, line: str, message: str
) -> None:
    with (filmed / "truth.csv").open("a") as file:
        file.write(f"{line}\n")
    done = stpr_bench(telling, "--annotations", filmed / "truth.csv")
    assert done.exit_code == 2
    assert done.stdout == ""
    (error,) = done.stderr.splitlines()
    assert error.startswith("Error: ")
    assert re.search(message, error), error


def test_a_bundle_without_events_says_what_to_do(mute: Path, filmed: Path) -> None:
    done = stpr_bench(mute, "--annotations", filmed / "truth.csv")
    assert done.exit_code == 2
    assert "can't detect events: its head gives no evidence. Train with `[statistics] events = true`" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--annotations", "synthetic:crowd"], "no embedded videos synthetic:crowd; write synthetic:motions for all"),
        (["--annotations", "a.csv", "--seeds", "3"], "--seeds goes with --annotations synthetic:NAME"),
        (["--split", "train"], "--split goes with --annotations synthetic:NAME"),
        (["--annotations", "a.csv", "--actions", "3"], "--actions goes with --annotations synthetic:NAME"),
        (["--annotations", "synthetic:idle", "--videos", "a"], "--videos goes with --annotations FILE"),
        (["--annotations", "a.csv", "--seconds", "3"], "--seconds goes with no --annotations"),
        (["--tolerance", "3"], "--tolerance goes with --annotations"),
        (["--waits", "0,1"], "--waits goes with --annotations"),
        (["--events", "wait=1"], "--events goes with --annotations"),
        (["--annotations", "a.csv", "--waits", "0,-1"], "--waits 0,-1: write seconds separated by commas"),
        (["--annotations", "a.csv", "--events", "wiat=1"], "--events wiat=1: write NAME=NUMBER; the names are"),
        (["--annotations", "a.csv", "--events", "wait=soon"], "--events wait=soon: soon is not a number"),
        (["--annotations", "a.csv", "--events", "wait=-1"], "wait, linger and apart must be 0 or more"),
        (["--json", "no/such/figures.json"], "can't write figures to no/such/figures.json"),
    ],
)
def test_what_is_asked_wrongly_ends_with_2(telling: Path, arguments: list[str], message: str) -> None:
    done = stpr_bench(telling, *arguments)
    assert done.exit_code == 2
    assert message in done.stderr


def test_pictures_are_named_after_their_videos() -> None:
    names = ["a.mp4", "b/c.mp4", "d.avi", "d.mp4", "/data/e.mp4"]
    assert picture_names(names) == ["a.png", "b_c.png", "d.avi.png", "d.mp4.png", "data_e.png"]
