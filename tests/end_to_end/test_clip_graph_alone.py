"""`clip.onnx` needs nothing of this project: onnxruntime and numpy, in any folder, give the golden clip's answer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from stpr.export.graphs.assemble import trace_pieces, write_onnx
from stpr.export.parity.reference import answers
from stpr.runtime.contract.motion import MotionSpec
from tests.export.models import MOTION, feeds, head_settings, random_backbone, random_model, views_settings

SCRIPT = """
import sys
import numpy as np
import onnxruntime

with np.load(sys.argv[2]) as golden:
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    names = ["logits", "routing", "familiarity"]
    taken = [one.name for one in session.get_inputs()]
    found = dict(zip(names, session.run(names, {name: golden[name] for name in taken})))
    assert all(np.abs(found[name] - golden[name]).max() < 1e-4 for name in found)
own = {"stpr", "torch", "onnx", "cv2"} & set(sys.modules)
assert not own, own
print("the same of", *taken)
"""


@pytest.mark.parametrize("motion", [None, MOTION], ids=["frames", "motion"])
def test_the_clip_graph_runs_alone(motion: MotionSpec | None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = random_model(
        backbone=random_backbone("clip", (1, 2) if motion else "none"),
        stages=2,
        settings=views_settings() if motion else head_settings("raw"),
        motion=motion,
    )
    folder = tmp_path / "bundle"
    folder.mkdir()
    write_onnx(model, trace_pieces(model), folder)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 4, *model.encoder.pixels.shape), dtype=np.uint8)
    wanted = answers(model, pixels)
    golden = {name: getattr(wanted, name) for name in ("logits", "routing", "familiarity")} | feeds(model, pixels)
    np.savez(tmp_path / "golden.npz", allow_pickle=False, **golden)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run = [sys.executable, "-I", "-c", SCRIPT, str(folder / "clip.onnx"), str(tmp_path / "golden.npz")]
    told = subprocess.run(run, cwd=elsewhere, capture_output=True, text=True, check=False)
    assert told.stdout == f"the same of frames{' greys' if motion else ''}\n", told.stderr
