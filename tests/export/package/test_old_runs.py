"""Runs that trainers of older schemas wrote can still be exported (see tests/runs/README.md)."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from stpr.export.package.pipeline import export_stage
from stpr.export.package.request import Options
from stpr.runtime.contract.bundle import open_bundle
from stpr.runtime.contract.manifest import GraphName
from stpr.runtime.engines import open_engine
from stpr.runtime.engines.engine import EngineOptions
from stpr.train.run.folder import PREDICTIONS, stage_folder
from tests.factories import make_video
from tests.runs.frames import frames

OLD = sorted((Path(__file__).parents[2] / "runs").glob("schema-*/stpr"))


@pytest.mark.parametrize("run", OLD, ids=lambda run: run.parent.name)
def test_its_last_stage_is_exported_and_says_the_same(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = Path(shutil.copytree(run, tmp_path / "run"))
    monkeypatch.chdir(tmp_path)  # the run names its videos from the folder in which it was trained
    with (stage_folder(begun, 2) / PREDICTIONS).open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            Path(row["path"]).parent.mkdir(parents=True, exist_ok=True)
            make_video(Path(row["path"]), frames=8)
    bundle = open_bundle(export_stage(begun, 2, tmp_path / "bundles", options=Options(clips=2)))
    engine = open_engine("onnxruntime", bundle.graph(GraphName.CLIP), EngineOptions())
    said = json.loads((run / "said.json").read_bytes())[1]
    np.testing.assert_allclose(engine.run({"frames": frames()})["logits"], said["logits"], atol=1e-3, rtol=1e-3)
