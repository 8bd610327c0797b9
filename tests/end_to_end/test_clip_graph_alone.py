"""`clip.onnx` needs nothing of this project: onnxruntime and numpy, in any folder, give the golden clip's answer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from stpr.export.graphs.assemble import trace_pieces, write_onnx
from stpr.export.parity.reference import answers
from tests.export.models import SIDE, head_settings, random_backbone, random_model

SCRIPT = """
import sys
import numpy as np
import onnxruntime

with np.load(sys.argv[2]) as golden:
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    names = ["logits", "routing", "familiarity"]
    found = dict(zip(names, session.run(names, {"frames": golden["frames"]})))
    assert all(np.abs(found[name] - golden[name]).max() < 1e-4 for name in found)
own = {"stpr", "torch", "onnx", "cv2"} & set(sys.modules)
assert not own, own
print("the same")
"""


def test_the_clip_graph_runs_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = random_model(backbone=random_backbone("clip"), stages=2, settings=head_settings("raw"))
    folder = tmp_path / "bundle"
    folder.mkdir()
    write_onnx(model, trace_pieces(model), folder)
    frames = np.random.default_rng(0).integers(0, 256, (1, 4, SIDE, SIDE, 3), dtype=np.uint8)
    wanted = answers(model, frames)
    logits, routing, familiarity = wanted.logits, wanted.routing, wanted.familiarity
    np.savez(tmp_path / "golden.npz", frames=frames, logits=logits, routing=routing, familiarity=familiarity)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run = [sys.executable, "-I", "-c", SCRIPT, str(folder / "clip.onnx"), str(tmp_path / "golden.npz")]
    told = subprocess.run(run, cwd=elsewhere, capture_output=True, text=True, check=False)
    assert told.stdout == "the same\n", told.stderr
