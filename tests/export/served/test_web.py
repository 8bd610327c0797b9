"""onnxruntime-web under Node runs a bundle's single file as onnxruntime does here; skipped where npm can't bring it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from stpr.export.served import emit
from stpr.runtime.contract.bundle import open_bundle

SCRIPT = """
import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-web";
const given = JSON.parse(readFileSync("feeds.json"));
const graph = new Uint8Array(readFileSync("clip.onnx"));
const session = await ort.InferenceSession.create(graph, {executionProviders: ["wasm"]});
const feeds = Object.fromEntries(Object.entries(given).map(
    ([name, one]) => [name, new ort.Tensor("uint8", Uint8Array.from(one.data), one.shape)]));
const found = await session.run(feeds);
const numbers = Object.entries(found).map(([name, one]) => [name, Array.from(one.data)]);
console.log(JSON.stringify(Object.fromEntries(numbers)));
process.exit(0);
"""


def test_a_browsers_onnxruntime_gives_the_golden_clips_logits(bundles: list[Path], tmp_path: Path) -> None:
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("no Node")
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "onnxruntime-web@1.30"]
    if subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=240).returncode:
        pytest.skip("npm can't bring onnxruntime-web")
    bundle = open_bundle(Path(shutil.copytree(bundles[2], tmp_path / "bundle" / "stage-3")))
    written, golden = emit(bundle, "single-file"), bundle.golden()
    shutil.copy(written / "clip.onnx", tmp_path)
    feeds = {name: {"shape": list(clip.shape), "data": clip.ravel().tolist()} for name, clip in golden.feeds.items()}
    (tmp_path / "feeds.json").write_text(json.dumps(feeds))
    (tmp_path / "run.mjs").write_text(SCRIPT)
    done = subprocess.run(["node", "run.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(found["logits"], golden.logits[0], atol=1e-5)
    np.testing.assert_allclose(found["routing"], golden.routing[0], atol=1e-5)
