"""The import rules of pyproject.toml hold, and each of them bites: a planted import breaks it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = Path(sys.executable).with_name("lint-imports")


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """Check a tree in which the packages lie under their real names."""
    code = f"import sys; sys.path.insert(0, {str(root)!r}); sys.argv = ['lint-imports', '--no-cache'];"
    code += "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=root)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for top in ("train", "export", "runtime"):
        shutil.copytree(ROOT / top, tmp_path / "stpr" / top, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_rules_hold(tree: Path) -> None:
    done = lint(tree)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "planted", "rule"),
    [
        ("runtime/window.py", "import stpr.train.metrics", "data flows train -> export -> runtime"),
        ("train/learner.py", "import stpr.export.cli", "data flows train -> export -> runtime"),
        ("train/learner.py", "import stpr.runtime.window", "training knows of the runtime only the contract"),
        ("export/cli.py", "import stpr.runtime.recognizer", "export knows of the runtime only the contract"),
        ("runtime/window.py", "import torch", "the device never needs torch or onnx"),
    ],
)
def test_each_rule_bites(tree: Path, file: str, planted: str, rule: str) -> None:
    path = tree / "stpr" / file
    path.write_text(path.read_text() + f"\n{planted}\n")
    done = lint(tree)
    assert done.returncode == 1
    assert f"{rule}" in done.stdout
    assert "BROKEN" in done.stdout
