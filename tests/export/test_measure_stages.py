"""tools/measure_stages.py holds every bundle of a run against PyTorch on every engine that runs here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from stpr.runtime.engines import ENGINES

ROOT = Path(__file__).parents[2]


def measured(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "tools/measure_stages.py", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tools/typing")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_every_stage_is_measured_on_every_engine_or_the_reason_said(
    run: Path, bundles: list[Path], tmp_path: Path
) -> None:
    file = tmp_path / "figures.json"
    done = measured(run, bundles[0].parent, "--clips", "4", "--calls", "2", "--json", file)
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text())
    engines = [row["engine"] for row in rows if row["stage"] == 1]
    assert "onnxruntime" in engines
    for name in ENGINES:
        assert name in engines or f"{name}: not here; " in done.stdout
    assert [row["stage"] for row in rows] == [stage for stage in (1, 2, 3) for _ in engines]
    assert all(row["top1"] == row["routing"] == 1 and row["logits"] < 1e-4 and row["clips"] == 4 for row in rows)
    assert (
        len(
            re.findall(r"^\| \d \| fp32 \| onnxruntime \| .* \| 1\.00 \| 1\.00 \| 1\.00 \|$", done.stdout, re.MULTILINE)
        )
        == 3
    )


def test_a_folder_without_bundles_is_one_line(run: Path, tmp_path: Path) -> None:
    done = measured(run, tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"Error: {tmp_path} holds no bundles; name the folder of a run's, such as bundles/motions.\n"
