"""A network of CLIP ViT-B/16's size, its weights drawn, with five experts: exported, updated, checked and run.

`pytest -s` on this file prints what BENCHMARKS.md shows: MB of update, expert and bundle in half precision, and the GB
that export, check and run took at most.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import torch
import transformers

from stpr.runtime.contract.bundle import open_bundle
from stpr.runtime.contract.delta import bytes_of
from tests.export.runs import write_run

ROOM: Final = 16.0  # GB
STAGES: Final = 5
FRAMES: Final = 2  # of a clip: no size but that of the golden clip depends on it, and the time does
WATCHED: Final = """
import sys
from {module} import {name} as command
try:
    command(sys.argv[1:])
finally:
    print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")), file=sys.stderr)
"""


@dataclass(frozen=True)
class Form:
    """Settings, and how many MB an update may have."""

    tables: Mapping[str, Any]
    most: float


FORMS: Final = {
    "full": Form({"adapter": {"place": "blocks"}, "expert": {"width": 0}}, 19.0),  # the paper's
    "lean": Form(  # what is learnt lies behind the network
        {
            "adapter": {"place": "feature"},
            "expert": {"width": 32},
            "router": {"kind": "likelihood"},
            "statistics": {"parts": ["mean"], "likelihood": "cosine", "concentration": "learnt"},
            "fusion": {"kind": "posteriors"},
        },
        2.0,
    ),
}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A vision tower in CLIP ViT-B/16's form as a folder that a recipe can name."""
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    config: Any = transformers.CLIPVisionConfig(patch_size=16, attn_implementation="sdpa")
    transformers.CLIPVisionModelWithProjection(config).save_pretrained(folder)
    processor = {"size": {"height": 224, "width": 224}, "image_mean": [0.48, 0.46, 0.41], "image_std": [0.27] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return str(folder)


def watched(module: str, name: str, *arguments: str | Path) -> tuple[str, float]:
    """What a command prints, and the GB of memory that its process had at most."""
    code = WATCHED.format(module=module, name=name)
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout, int(re.findall(r"VmHWM:\s+(\d+) kB", done.stderr)[-1]) / 1e6


@pytest.mark.parametrize("name", FORMS)
def test_it_is_exported_updated_checked_and_run(name: str, network: str, tmp_path: Path) -> None:
    form, out = FORMS[name], tmp_path / "bundles"
    size = {"backbone": {"source": network, "projection": 0}, "stages": {"sizes": [2] * STAGES}}
    folder = write_run(tmp_path, **size, sampling={"frames": FRAMES}, **form.tables)
    video = next((tmp_path / "data").rglob("test_0.mp4"))
    common: tuple[str | Path, ...] = ("--run", folder, "--out", out, "--clips", "1", "--precision", "fp16")
    before, bundle = (out / "by-chance" / f"stage-{stage}-fp16" for stage in (STAGES - 1, STAGES))
    peaks = {}
    watched("stpr.export.cli", "main", "--stage", str(STAGES - 1), *common)
    told, peaks["export"] = watched("stpr.export.cli", "main", "--stage", str(STAGES), "--since", before, *common)
    checked, peaks["check"] = watched("stpr.runtime.cli", "check", bundle)
    said, peaks["run"] = watched(
        "stpr.runtime.cli", "run", "--bundle", bundle, "--source", video, "--headless", "--json", "-"
    )
    update = bytes_of(bundle.with_name(f"update-{STAGES - 1}-to-{STAGES}-fp16")) / 1e6
    files = {name: entry.bytes / 1e6 for name, entry in open_bundle(bundle).manifest.files.items()}
    figures = [update, files[f"weights/expert-{STAGES}-fp16.bin"], sum(files.values()), *peaks.values()]
    sys.stdout.write(f"\n| {name} | {' | '.join(f'{figure:.2f}' for figure in figures)} |\n")
    assert "top-1 100% (live" in told  # of the clips that are decided: its numbers are drawn
    assert "FAIL" not in checked
    assert {line["state"] for line in map(json.loads, said.splitlines()) if "state" in line} & {"known", "unknown"}
    assert max(peaks.values()) < ROOM
    assert update < form.most
