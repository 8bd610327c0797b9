"""A bundle of CLIP ViT-B/16's size with the paper's experts, its weights drawn: exported, checked and run in 16 GB.

`pytest -s tests/export/package/test_large.py` prints what it took.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import transformers

from tests.export.runs import write_run

ROOT = Path(__file__).parents[3]
STAGES = 5
LIMIT = 16e9
MAIN = "from stpr.{} import {} as main; main()"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    torch.manual_seed(0)
    network = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(patch_size=16))
    network.save_pretrained(folder / "vit")
    crop = {"height": 224, "width": 224}
    spread = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}
    processor = {"size": {"shortest_edge": 224}, "crop_size": crop, **spread}
    (folder / "vit" / "preprocessor_config.json").write_text(json.dumps(processor))
    write_run(
        folder,
        backbone={"source": str(folder / "vit")},
        stages={"sizes": [2] * STAGES},
        sampling={"frames": 8},
        adapter={"place": "blocks"},
        expert={},  # three layers, 512 wide: the paper's
    )
    return folder


def within_the_limit(work: Path, command: tuple[str, str], *arguments: object) -> str:
    """Run a command in a process of its own; say what it took."""
    code, started = MAIN.format(*command), time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tools/typing")}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024  # the largest child so far
    print(f"{command[1]}: {time.monotonic() - started:.0f} s, peak so far {peak / 1e9:.1f} GB")  # noqa: T201
    assert peak < LIMIT
    return done.stdout


def test_it_is_exported_checked_and_run(work: Path) -> None:
    run, bundle = work / "runs" / "by-chance", work / "bundles" / "by-chance" / f"stage-{STAGES}"
    told = within_the_limit(work, ("export.cli", "main"), "--run", run, "--stage", STAGES, "--clips", 2)
    assert "top-1 100%" in told
    size = sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file())
    print(f"bundle: {size / 1e6:.0f} MB")  # noqa: T201
    assert size > 400e6
    checked = within_the_limit(work, ("runtime.cli", "check"), bundle)
    assert "FAIL" not in checked
    video = next((work / "data").rglob("*.mp4"))
    lines = within_the_limit(
        work, ("runtime.cli", "run"), "--bundle", bundle, "--source", video, "--headless", "--json", "-"
    )
    assert any(json.loads(line).get("label") or json.loads(line).get("state") for line in lines.splitlines())
