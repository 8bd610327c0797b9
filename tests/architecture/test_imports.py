"""The house rules that a reader relies on: who may import whom, and that nothing generic is installed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
RUNTIME_MODULES = sorted(
    ".".join(["stpr", *file.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")
    for file in (ROOT / "runtime").rglob("*.py")
)
HEAVY = (
    "torch", "torchvision", "onnx", "onnxscript", "transformers", "accelerate", "matplotlib", "rich", "scipy",
    "sklearn", "jinja2", "markdown_it",
)  # fmt: skip
BLOCKER = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ImportError(f"the device has no {{name}}")
sys.meta_path.insert(0, Refuse())
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="/")


def test_every_runtime_module_imports_without_the_heavy_packages() -> None:
    imports = "\n".join(f"import {name}" for name in RUNTIME_MODULES)
    done = run(BLOCKER + imports)
    assert done.returncode == 0, done.stderr


def test_the_blocker_blocks() -> None:
    assert "the device has no torch" in run(BLOCKER + "import torch").stderr


@pytest.mark.parametrize("name", ["train", "export", "runtime"])
def test_no_generic_name_is_importable_from_elsewhere(name: str) -> None:
    assert "ModuleNotFoundError" in run(f"import {name}").stderr


def test_every_package_folder_is_mapped() -> None:
    code = "import setuptools; setuptools.setup = lambda **given: print(*given['packages'], sep='\\n'); import setup"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    folders = {
        ".".join(["stpr", *file.parent.relative_to(ROOT).parts])
        for top in ("train", "export", "runtime")
        for file in (ROOT / top).rglob("__init__.py")
    }
    assert set(done.stdout.split()) == folders


def test_every_folder_with_modules_is_a_package() -> None:
    for top in ("train", "export", "runtime"):
        for file in (ROOT / top).rglob("*.py"):
            assert (file.parent / "__init__.py").is_file(), (
                f"{file.parent} has no __init__.py and would not be installed"
            )


def test_type_checkers_see_the_very_folders() -> None:
    for top in ("train", "export", "runtime"):
        assert (ROOT / "tools" / "typing" / "stpr" / top).resolve() == ROOT / top


def test_flavours_of_one_library_are_never_hard_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base = " ".join(project["dependencies"])
    assert not any(name in base for name in ("onnxruntime", "opencv", "torch", "tensorrt"))
    for extra, wants in project["optional-dependencies"].items():
        text = " ".join(wants)
        assert text.count("opencv-python") <= 1, extra
        assert text.count("onnxruntime") <= 1, extra


def test_constraints_hold_names_and_versions_only() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(line.count("==") == 1 and "/" not in line and "@" not in line for line in lines)


MOST_IMPORTS = 12


def imported(file: Path, text: str) -> set[str]:
    """The modules of ours that a module imports, anywhere in it; a package's face to its own modules is not counted."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name.startswith("stpr.")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stpr."):
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                path = ROOT.joinpath(*whole.split(".")[1:])
                found.add(whole if path.is_dir() or path.with_suffix(".py").is_file() else str(node.module))
    own = ".".join(["stpr", *file.relative_to(ROOT).parent.parts, ""]) if file.name == "__init__.py" else " "
    return {name for name in found if not name.startswith(own)}


def test_no_module_imports_more_than_twelve_of_ours() -> None:
    files = [file for top in ("train", "export", "runtime") for file in (ROOT / top).rglob("*.py")]
    counts = {file.relative_to(ROOT).as_posix(): len(imported(file, file.read_text("utf-8"))) for file in files}
    assert {name: count for name, count in counts.items() if count > MOST_IMPORTS} == {}


def test_imports_are_counted_wherever_they_stand() -> None:
    text = (
        "import stpr.runtime.window\nfrom stpr.train.run import metrics, folder\n"
        "from stpr.train.run.folder import RECIPE, RECORD\n"
        "if TYPE_CHECKING:\n    from stpr.train.methods import METHODS\n"
        "def late():\n    from stpr.runtime.contract.errors import StprError\n"
    )
    names = ("runtime.window", "train.run.metrics", "train.run.folder", "train.methods", "runtime.contract.errors")
    assert imported(ROOT / "train" / "x.py", text) == {f"stpr.{name}" for name in names}
    face = "from stpr.train.methods import ewc, joint\nfrom stpr.train.methods.lwf import METHOD\nimport stpr.runtime\n"
    assert imported(ROOT / "train" / "methods" / "__init__.py", face) == {"stpr.runtime"}
