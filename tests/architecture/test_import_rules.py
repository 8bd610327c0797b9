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


OUT_OF_REACH = "of the runtime, training reaches the contract and the motions alone"


@pytest.mark.parametrize(
    ("file", "planted", "rule"),
    [
        ("runtime/window.py", "import stpr.train.run.metrics", "data flows train -> export -> runtime"),
        ("train/learning/fit.py", "import stpr.export.cli", "data flows train -> export -> runtime"),
        ("train/learning/fit.py", "import stpr.runtime.window", OUT_OF_REACH),
        ("export/cli.py", "import stpr.runtime.recognizer", "of the runtime, export reaches the contract and the eng"),
        ("runtime/window.py", "import torch", "the device never needs torch or onnx"),
        ("export/cli.py", "import scipy.stats", "scikit-learn and SciPy belong to training alone"),
        ("export/graphs/cut.py", "import sklearn", "scikit-learn and SciPy belong to training alone"),
        ("train/model/stpr.py", "import stpr.train.run.metrics", "the rooms of training"),
        ("train/datasets/folder.py", "import stpr.train.settings.bounds", "the rooms of training"),
    ],
)
def test_each_rule_bites(tree: Path, file: str, planted: str, rule: str) -> None:
    path = tree / "stpr" / file
    path.write_text(path.read_text() + f"\n{planted}\n")
    assert_broken(lint(tree), rule)


@pytest.mark.parametrize(
    ("file", "rule"),
    [
        ("train/learning/fit.py", OUT_OF_REACH),
        ("export/cli.py", "of the runtime, export reaches the contract and the engines alone"),
    ],
)
def test_a_module_that_nobody_named_is_out_of_reach(tree: Path, file: str, rule: str) -> None:
    (tree / "stpr" / "runtime" / "not_there_yet.py").write_text('"""A module of tomorrow."""\n')
    path = tree / "stpr" / file
    path.write_text(path.read_text() + "\nimport stpr.runtime.not_there_yet\n")
    assert_broken(lint(tree), rule)


def test_a_flat_module_of_training_has_no_room(tree: Path) -> None:
    (tree / "stpr" / "train" / "helpers.py").write_text('"""A module outside the rooms."""\n')
    assert_broken(lint(tree), "the rooms of training")


def assert_broken(done: subprocess.CompletedProcess[str], rule: str) -> None:
    assert done.returncode == 1, done.stdout
    said = " ".join(done.stdout.split())  # long names are wrapped
    assert f"{rule}" in said
    assert "BROKEN" in said
