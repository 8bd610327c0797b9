"""The documentation's lines for onnxruntime-web, under Node, on a bundle's single file; skipped without npm's help."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from stpr.export.served import emit
from stpr.runtime.contract.bundle import open_bundle

PAGE = Path(__file__).parents[3] / "tools" / "site" / "pages" / "served.md"


def test_the_pages_lines_give_the_golden_clips_scores(bundles: list[Path], tmp_path: Path) -> None:
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("no Node")
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "onnxruntime-web@1.30"]
    if subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=240).returncode:
        pytest.skip("npm can't bring onnxruntime-web")
    bundle = open_bundle(Path(shutil.copytree(bundles[2], tmp_path / "bundle" / "stage-3")))
    written, golden = emit(bundle, "single-file"), bundle.golden()
    shutil.copy(written / "clip.onnx", tmp_path)
    (tmp_path / "clip.rgb").write_bytes(golden.frames.tobytes())
    (script,) = re.findall(r"```js\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "classify.mjs").write_text(script)
    command = ["node", "classify.mjs", "clip.onnx", str(bundle.path / "manifest.json"), "clip.rgb"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    powers = np.exp((golden.logits[0] - golden.logits.max()) / bundle.manifest.temperature)
    wanted = dict(zip(bundle.manifest.class_names, powers / powers.sum(), strict=True))
    assert [name for name, _ in found] == sorted(wanted, key=lambda name: -wanted[name])
    np.testing.assert_allclose([score for _, score in found], [wanted[name] for name, _ in found], atol=1e-4)
