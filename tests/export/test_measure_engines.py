"""tools/measure_engines.py needs no installation, measures all that runs here, and says what does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stpr.runtime.engines import ENGINES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def measured(run: Path, bundles: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """The table and the figures of one run of the tool; no more is on the path than the project's links."""
    figures = tmp_path_factory.mktemp("measured") / "figures.json"
    tool = str(ROOT / "tools/measure_engines.py")
    done = subprocess.run(
        [sys.executable, tool, bundles[1], "--run", run, "--calls", "20", "--json", figures],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tools/typing")},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, json.loads(figures.read_text())


def test_every_engine_has_its_row_or_the_reason_why_not(measured: tuple[str, dict[str, Any]]) -> None:
    table, figures = measured
    rows = {(row["name"], row["precision"]): row for row in figures["rows"]}
    assert {("PyTorch eager, cpu", "fp32"), ("onnxruntime", "fp32")} <= rows.keys()
    for name in ENGINES:
        assert (name, "fp32") in rows or figures["left_out"][f"{name} fp32"]
    for name, precision in rows:
        assert f"| {name} | {precision} |" in table
    for reason in figures["left_out"].values():
        assert reason in table


def test_each_row_has_its_latencies_and_keeps_to_the_certificate(measured: tuple[str, dict[str, Any]]) -> None:
    table, figures = measured
    for row in figures["rows"]:
        assert row["latency_ms"].keys() == {"encoder 1", "encoder 8", "head 1", "head 8"}
        assert all(0 < one["p50"] <= one["p95"] <= one["p99"] for one in row["latency_ms"].values())
        assert row["off"].keys() == row["allowed"].keys() >= {"features", "logits", "routing", "familiarity"}
        assert row["top1"]
        assert all(row["off"][name] <= row["allowed"][name] for name in row["off"])
    assert "beyond" not in table
    assert figures["machine"]["torch"]
