"""tools/measure_consumers.py gives a row to every consumer: how far off it is, or why it gave nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "tools/measure_consumers.py", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tools/typing")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def measured(bundles: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]]]:
    figures = tmp_path_factory.mktemp("measured") / "figures.json"
    done = call(bundles[1], "--json", figures)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(figures.read_text())


def test_what_is_installed_with_us_gives_the_golden_clips_answers(
    bundles: list[Path], measured: tuple[str, list[dict[str, Any]]]
) -> None:
    table, entries = measured
    for name in ("onnxruntime", "ONNX's reference"):
        own = [entry for entry in entries if entry["consumer"] == name]
        assert [entry["form"] for entry in own] == ["as it lies", "one file", "one file, batch 1"]
        for entry in own:
            assert entry["off"].keys() == {"logits", "routing", "familiarity"}
            assert max(entry["off"].values()) < 1e-4
            assert entry["top1"]
    assert "| onnxruntime " in table
    assert not list(bundles[1].parent.glob("stage-2-*"))  # nothing is written beside the bundle


def test_opencv_reads_the_graph_with_a_fixed_batch(measured: tuple[str, list[dict[str, Any]]]) -> None:
    pytest.importorskip("cv2")
    entry = next(one for one in measured[1] if one["consumer"] == "OpenCV dnn" and one["form"] == "one file, batch 1")
    if entry["reason"].startswith("not here"):
        pytest.skip("another wheel of OpenCV")
    assert entry["off"]["logits"] < 1e-4, entry


def test_a_consumer_that_gave_nothing_has_its_reason(measured: tuple[str, list[dict[str, Any]]]) -> None:
    table, entries = measured
    silent = [entry for entry in entries if not entry["off"]]
    assert {"onnxruntime-node", "onnxruntime-web"} <= {entry["consumer"] for entry in silent}  # no --node was given
    for entry in silent:
        assert entry["reason"]
        assert entry["reason"].replace("|", "/") in table


def test_a_consumer_that_nobody_knows_is_one_line(bundles: list[Path]) -> None:
    done = call(bundles[0], "--only", "nobody")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("Error: no consumer is called 'nobody'; there are onnxruntime, ")
