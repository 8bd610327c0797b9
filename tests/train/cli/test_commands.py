"""Every command of `stpr-train`: its help and version need nothing heavy, and what is missing is one line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from stpr.train.cli import COMMANDS, DEFAULT

NAMES = [[], *([name] for name in COMMANDS)]  # without a name: the default one
# What neither `pip install "stpr[server]"` brings nor a command's help may import.
HEAVY = ("torch", "transformers", "accelerate", "safetensors", "matplotlib", "rich", "tensorboardX", "tomli_w", "tomli")
RUN = "import sys; from stpr.train.cli import main; main(sys.argv[1:], prog_name='stpr-train', standalone_mode={})\n"
BLOCK = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd="/")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(name: list[str], option: str) -> None:
    heavy = {*HEAVY, "cv2", "numpy", "onnxruntime"}
    tell = f"import json; print(json.dumps(sorted({heavy!r} & set(sys.modules))))"
    done = run(f"import atexit\n@atexit.register\ndef tell():\n    {tell}\n" + RUN.format(True), *name, option)
    assert done.returncode == 0, done.stderr
    *said, imported = done.stdout.splitlines()
    assert json.loads(imported) == []
    if option == "--version":
        assert said == [f"stpr {version('stpr')}"]
    else:
        assert said[0].startswith(" ".join(["Usage: stpr-train", *(n for n in name if n != DEFAULT), "[OPTIONS]"]))


def test_the_first_help_names_every_command() -> None:
    said = run(RUN.format(True), "--help").stdout
    others = said.partition("Other commands")[2]
    assert all(f"\n  {name} " in others for name in COMMANDS if name != DEFAULT)
    assert "motions" in said.partition("Recipes that come with stpr: ")[2]


@pytest.mark.parametrize("arguments", [["motions"], ["compare", "motions"], ["audit", "runs/motions"]])
def test_what_is_not_installed_is_one_line_that_says_what_to_install(arguments: list[str]) -> None:
    done = run(BLOCK + RUN.format(True), *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    line = r"Error: (\w+) can't be imported here \(No module named '\1'\): `pip install \"stpr\[train\]\"`\.\n"
    assert re.fullmatch(line, done.stderr)


def test_a_name_that_is_none_of_the_commands_is_a_recipe() -> None:
    done = run(RUN.format(True), "adit")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("Error: no recipe 'adit'")


@pytest.mark.parametrize("dry", [[], pytest.param(["--dry-run"], marks=pytest.mark.rare)])
@pytest.mark.parametrize(
    ("change", "near"), [("method=spr", "stpr"), pytest.param("router.kind=row", "raw", marks=pytest.mark.rare)]
)
def test_a_name_that_nobody_knows_is_refused_before_anything_is_written(
    change: str, near: str, dry: list[str], tmp_path: Path
) -> None:
    places = ["--data", str(tmp_path / "motions"), "--out", str(tmp_path / "run")]
    done = run(RUN.format(True), "motions", *places, "--set", change, *dry)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"Error: .* must be one of .*\(did you mean '{near}'\?\)\.\n", done.stderr)
    assert list(tmp_path.iterdir()) == []
