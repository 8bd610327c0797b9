"""The device has no torch: neither an import nor a run may ask for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.factories import make_bundle, make_video

BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "onnx", "onnxscript", "transformers", "accelerate", "matplotlib"}:
            raise ImportError(f"the device has no {name}")
        if name.startswith(("stpr.train", "stpr.export")):
            raise ImportError(f"the runtime knows no {name}")
sys.meta_path.insert(0, Blocked())
"""
RUNTIME = Path(__file__).parents[2] / "runtime"
MODULES = sorted(
    "stpr.runtime." + ".".join(file.relative_to(RUNTIME).with_suffix("").parts).removesuffix(".__init__")
    for file in RUNTIME.rglob("*.py")
    if file != RUNTIME / "__init__.py"
)


def blocked(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCK + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", ["torch", "onnx", "transformers", "stpr.train"])
def test_the_block_blocks(name: str) -> None:
    assert "ImportError: the" in blocked(f"import {name}").stderr


def test_every_module_imports_without_torch() -> None:
    assert {"stpr.runtime.cli", "stpr.runtime.sources.live", "stpr.runtime.contract.bundle"} <= set(MODULES)
    done = blocked("import importlib\nfor name in sys.argv[1:]: importlib.import_module(name)", *MODULES)
    assert done.returncode == 0, done.stderr


def test_a_run_a_check_and_a_bench_need_no_torch(tmp_path: Path) -> None:
    bundle, video = make_bundle(tmp_path), make_video(tmp_path / "clip.avi")
    watched = blocked(
        "from stpr.runtime.cli import run; run()", "--source", str(video), "--bundle", str(bundle), "--headless"
    )
    assert watched.returncode == 0, watched.stderr
    checked = blocked("from stpr.runtime.cli import check; check()", str(bundle))
    assert checked.returncode == 0, checked.stderr
    measured = blocked("from stpr.runtime.cli import bench; bench()", str(bundle), "--seconds", "2", "--json", "-")
    assert measured.returncode == 0, measured.stderr


def test_help_imports_nothing_heavy() -> None:
    code = (
        "from stpr.runtime.cli import run\nrun(['--help'], standalone_mode=False)\n"
        "print({'numpy', 'cv2', 'onnxruntime'} & set(sys.modules))"
    )
    assert blocked(code).stdout.splitlines()[-1] == "set()"
