"""Every command line: its version, its help and its errors, as a user meets them."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from stpr.runtime.contract.command import Command, Group
from stpr.runtime.contract.errors import SourceError, StprError

# What `pip install "stpr[server]"` does not bring.
BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "onnx", "onnxscript", "transformers", "accelerate", "rich"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
"""
COMMANDS = {
    "stpr-run": "from stpr.runtime.cli import run as main",
    "stpr-check": "from stpr.runtime.cli import check as main",
    "stpr-export": "from stpr.export.cli import main",
}


def on_a_device(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command where nothing for learning is installed; its last line names what it imported of the heavy."""
    code = f"{BLOCK}\n{COMMANDS[command]}\nmain({list(arguments)}, prog_name={command!r})"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_version_and_help_need_nothing_that_is_heavy(command: str) -> None:
    shown = on_a_device(command, "--version")
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, f"stpr {version('stpr')}\n", "")
    helped = on_a_device(command, "--help")
    assert helped.returncode == 0, helped.stderr
    assert f"Usage: {command}" in helped.stdout
    assert "--version" in helped.stdout
    code = f"import sys\n{COMMANDS[command]}\nprint({{'cv2', 'numpy', 'onnxruntime'}} & set(sys.modules))"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert imported.stdout == "set()\n"


@pytest.mark.parametrize("asked", ["--help", "--version"])
def test_a_full_standard_output_is_one_line(asked: str) -> None:
    code = f"{COMMANDS['stpr-run']}\nmain(['{asked}'], prog_name='stpr-run')"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (2, "Error: can't write to standard output: its disk is full.\n")


@pytest.mark.parametrize(
    ("words", "name"),
    [(["--record", ""], "--record"), (["--record="], "--record"), (["", "--record", "x"], "an argument")],
)
def test_what_is_empty_is_no_value(words: list[str], name: str) -> None:
    @click.command(cls=Command)
    @click.option("--record", type=click.Path(path_type=Path))
    @click.argument("bundle", required=False)
    def main(**_: object) -> None:
        raise AssertionError

    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert f"Error: {name} is empty; is it a variable that is not set?" in result.output


def test_a_word_without_its_option_is_told_the_option(tmp_path: Path) -> None:
    @click.command(cls=Command)
    @click.option("--camera", type=click.IntRange(min=0))
    @click.option("--source")
    @click.option("--bundle", type=click.Path(path_type=Path))
    @click.option("--headless", is_flag=True)
    def main(**_: object) -> None:
        raise AssertionError

    @click.command(cls=Command)
    @click.argument("run")
    @click.option("--out")
    def named(**_: object) -> None:
        raise AssertionError

    (tmp_path / "manifest.json").touch()
    film = CliRunner().invoke(main, ["--headless", "film.mp4"])
    assert film.exit_code == 2
    expected = "Error: unexpected argument film.mp4; a value follows its option, such as --source film.mp4.\n"
    assert film.output.endswith(expected)
    bundle = CliRunner().invoke(main, [str(tmp_path)])
    assert bundle.output.endswith(f"such as --bundle {tmp_path}.\n")
    assert CliRunner().invoke(named, ["a", "x"]).output.endswith("Error: unexpected argument x.\n")


def test_a_package_that_is_not_installed_is_one_line_with_the_extra() -> None:
    done = on_a_device("stpr-export", "--stage", "1")
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "can't be imported here (No module named " in done.stderr
    assert done.stderr.endswith('`pip install "stpr[export]"`.\n')


def failing(error: Exception, *, group: bool = False) -> click.Command:
    """A command, alone or in a group, that fails with this error."""

    @click.command(cls=Command, extra="train")
    def alone() -> None:
        raise error

    if not group:
        return alone

    @click.group(cls=Group, extra="train", default="alone")
    def many() -> None:
        pass

    @many.command("alone")
    def among() -> None:
        raise error

    return many


@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize(
    ("error", "line"),
    [
        (SourceError("no camera 0 here; try another."), "Error: no camera 0 here; try another."),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch.nn"),
            "Error: torch can't be imported here (No module named 'torch'): `pip install \"stpr[train]\"`.",
        ),
        (
            ImportError("libGL.so.1: cannot open\nshared object file", name="cv2"),
            "Error: OpenCV can't be imported here (libGL.so.1: cannot open shared object file):"
            ' `pip install "stpr[server]"`, or "stpr[desktop]" for a window.',
        ),
        (
            ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime"),
            "Error: onnxruntime can't be imported here (No module named 'onnxruntime'):"
            ' `pip install "stpr[server]"`, or "stpr[gpu]" for an NVIDIA GPU.',
        ),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_code_2(error: Exception, line: str, *, group: bool) -> None:
    result = CliRunner().invoke(failing(error, group=group), ["alone"] if group else [])
    assert result.exit_code == 2
    assert result.output == f"{line}\n"


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'stpr.runtime.eventz'", name="stpr.runtime.eventz"),
        ImportError("cannot import name 'x' from 'json'", name="json"),
        ImportError("no name at all"),
        KeyError("x"),
    ],
)
def test_a_bug_stays_a_traceback(error: Exception) -> None:
    result = CliRunner().invoke(failing(error), [])
    assert result.exception is error


NOT_TEXT = " is not in UTF-8; rename the file or folder."


@pytest.mark.parametrize("words", [["--out", "b\udcff"], ["caf\udce9/"], ["--set=backbone.source=./n\udcff"]])
def test_a_name_that_no_recipe_or_graph_can_hold_is_one_line(words: list[str]) -> None:
    group = Group("stpr-do", default="do", commands={"do": Command("do", callback=lambda: None)})
    result = CliRunner().invoke(group, words)
    assert result.exit_code == 2
    assert NOT_TEXT in result.output
    assert result.output.isascii()
    assert result.output.count("\n") == 1


@pytest.mark.parametrize("group", [True, False])
def test_a_name_with_a_line_break_does_not_break_the_line(*, group: bool) -> None:
    result = CliRunner().invoke(
        failing(StprError("the video a\nb\udce9.mp4 is empty; copy it."), group=group), ["alone"] if group else []
    )
    assert (result.exit_code, result.output) == (2, "Error: the video a\\nb\\xe9.mp4 is empty; copy it.\n")


def test_a_working_folder_and_a_link_to_such_a_name_are_one_line_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "caf\udce9"
    odd.mkdir()
    (tmp_path / "link").symlink_to(odd)
    group = Group("stpr-do", default="do", commands={"do": Command("do", callback=lambda: None)})
    linked = CliRunner().invoke(group, ["--out", str(tmp_path / "link" / "a")])
    monkeypatch.chdir(odd)
    for result in (linked, CliRunner().invoke(group, [])):
        assert result.exit_code == 2
        assert result.output == f"Error: {tmp_path}/caf\\xe9{'/a' * (result is linked)}{NOT_TEXT}\n"


@pytest.mark.parametrize("group", [True, False])
def test_a_working_folder_that_was_deleted_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, group: bool
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    result = CliRunner().invoke(failing(KeyError("never run"), group=group), ["alone"] if group else [])
    assert (result.exit_code, result.output) == (
        2,
        "Error: the current folder was deleted; change to one that exists.\n",
    )


@pytest.mark.parametrize(("before", "then"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_of_pytorch_sleep_where_they_wait_unless_the_user_says_otherwise(
    before: str | None, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", before or "")  # so that it is as it was behind the test
    if before is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    do = Command("do", callback=lambda: click.echo(os.environ["OMP_WAIT_POLICY"]))
    result = CliRunner().invoke(Group("stpr-do", default="do", commands={"do": do}), [])
    assert result.output == f"{then}\n"


def test_commands_of_a_group_have_their_version_too() -> None:
    for arguments in (["--version"], ["alone", "--version"]):
        result = CliRunner().invoke(failing(KeyError("never run"), group=True), arguments)
        assert (result.exit_code, result.output) == (0, f"stpr {version('stpr')}\n")


def test_an_error_is_a_plain_exception_with_its_message() -> None:
    error = SourceError("no camera 0 here.")
    assert (str(error), error.message, error.args) == ("no camera 0 here.", "no camera 0 here.", ("no camera 0 here.",))
    assert StprError.__mro__[1] is Exception
    code = "import sys, stpr.runtime.contract.errors; print('click' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"


def test_what_the_system_says_against_a_path_is_one_line(tmp_path: Path) -> None:
    @click.command(cls=Command)
    def read() -> None:
        (tmp_path / ("x" * 300)).read_bytes()

    result = CliRunner().invoke(read)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {tmp_path}")
    assert result.stderr.endswith("File name too long; check the path, its permissions and the free space.\n")


def test_a_locale_without_utf_8_is_one_line_and_the_usual_ones_work() -> None:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    code = "from stpr.runtime.cli import check; check(['--version'])"
    for around, fails in (
        ({"LC_ALL": "C"}, False),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, True),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code], env=plain | around, capture_output=True, text=True, check=False
        )
        assert done.returncode == (2 if fails else 0), done.stderr
        said = "Error: file names are in ascii by this locale, not in UTF-8; set PYTHONUTF8=1 (export PYTHONUTF8=1).\n"
        assert done.stderr == (said if fails else "")
