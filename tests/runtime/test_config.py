"""`--config`: the file says what the options say, and the command line wins."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from stpr.runtime.cli import run
from stpr.runtime.config import ConfiguredCommand, read_config
from stpr.runtime.contract.errors import RecipeError


@click.command(cls=ConfiguredCommand, either=[("camera", "source")])
@click.option("--camera", type=int)
@click.option("--source", multiple=True)
@click.option("--dry-run", is_flag=True)
@click.option("--threads", type=click.IntRange(min=1), default=4)
@click.option("--json")
def command(**options: Any) -> None:
    click.echo(repr(options))


def told(tmp_path: Path, text: str, *arguments: str) -> Result:
    file = tmp_path / "run.toml"
    file.write_text(text, encoding="utf-8")
    return CliRunner().invoke(command, ["--config", str(file), *arguments])


def options(tmp_path: Path, text: str, *arguments: str) -> dict[str, Any]:
    done = told(tmp_path, text, *arguments)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = ast.literal_eval(done.output)
    return found


def test_the_file_is_the_options(tmp_path: Path) -> None:
    text = 'source = ["a", "b"]\ndry-run = true\nthreads = 2\njson = "-"\n'
    flags = ["--source", "a", "--source", "b", "--dry-run", "--threads", "2", "--json", "-"]
    plain = CliRunner().invoke(command, flags)
    assert options(tmp_path, text) == ast.literal_eval(plain.output)
    assert options(tmp_path, 'dry_run = true\nsource = "a"')["source"] == ("a",)


def test_the_command_line_wins(tmp_path: Path) -> None:
    assert options(tmp_path, "threads = 2", "--threads", "3")["threads"] == 3
    assert options(tmp_path, "threads = 2")["threads"] == 2
    assert options(tmp_path, "")["threads"] == 4
    found = options(tmp_path, 'source = ["a"]', "--camera", "0")
    assert (found["camera"], found["source"]) == (0, ())
    found = options(tmp_path, "camera = 1", "--source", "b")
    assert (found["camera"], found["source"]) == (None, ("b",))
    both = options(tmp_path, 'camera = 1\nsource = "a"')  # the file contradicts itself: the command says so
    assert (both["camera"], both["source"]) == (1, ("a",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "thread = 2",
            "there is no option thread: did you mean threads? Known are camera, source, dry-run, threads, json",
        ),
        ("version = true", "there is no option version"),
        ("config = 'a'", "there is no option config"),
        ("dry-run = 1", "dry-run takes true or false, not a number"),
        ("threads = '2'", "threads takes a number, not text"),
        ("threads = true", "threads takes a number, not true or false"),
        ("threads = [1]", "threads takes a number, not a list"),
        ("json = 1", "json takes text in quotes, not a number"),
        ("[json]", "json takes text in quotes, not a table"),
        ("json = 2026-01-01", "json takes text in quotes, not a date"),
        ("source = [1]", "source takes text in quotes, or a list of such, not a list"),
        ("dry-run = true\ndry_run = true", "names an option twice"),
        ("threads = ", "can't be read as TOML"),
    ],
)
def test_what_is_no_setting_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    done = told(tmp_path, text)
    assert done.exit_code == 2
    (line,) = done.output.splitlines()
    assert "run.toml" in line
    assert message in line


def test_a_value_out_of_range_is_told_as_of_the_option(tmp_path: Path) -> None:
    done = told(tmp_path, "threads = 0")
    assert done.exit_code == 2
    assert "Invalid value for '--threads': 0 is not in the range x>=1" in done.output


def test_a_secret_is_not_shown(tmp_path: Path) -> None:
    assert "hunter2" not in told(tmp_path, "threads = 'rtsp://user:hunter2@camera'").output


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.toml can't be read as TOML: .*No such file"):
        read_config(tmp_path / "none.toml", command)


OPTIONS = {
    option.name: option
    for option in run.params
    if isinstance(option, click.Option) and option.name not in {"config", "version", None}
}


def said_both_ways(option: click.Option, number: int) -> tuple[list[str], str]:
    """A value of an option as the command line and as a file say it; another one for each number."""
    flag, key = option.opts[0], option.opts[0].removeprefix("--")
    if option.is_flag:
        off = number % 2 and option.secondary_opts
        return [option.secondary_opts[0] if off else flag], f"{key} = {'false' if off else 'true'}"
    if isinstance(option.type, click.Choice):
        texts = [option.type.choices[number % len(option.type.choices)]]
    elif isinstance(option.type, (click.types.IntParamType, click.types.FloatParamType)):
        texts = [str(number + 1)]
    else:
        texts = [f"a/{number} ü"]
    if option.multiple:
        texts += [f"{number + 2}"]
    quoted = [text if text.isdecimal() and "INT" in str(option.type).upper() else f'"{text}"' for text in texts]
    value = f"[{', '.join(quoted)}]" if option.multiple else quoted[0]
    return [part for text in texts for part in (flag, text)], f"{key} = {value}"


def meant(arguments: Sequence[str]) -> dict[str, object]:
    """What a run would be told."""
    return run.make_context("stpr-run", [*arguments]).params


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("name", [*OPTIONS, "all"])
def test_a_file_says_of_every_option_what_the_command_line_says(tmp_path: Path, name: str, number: int) -> None:
    chosen = [*OPTIONS.values()] if name == "all" else [OPTIONS[name]]
    flags, lines = zip(*(said_both_ways(option, number) for option in chosen), strict=True)
    file = tmp_path / "run.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    given = [part for one in flags for part in one]
    by_flags, by_file = meant(given), meant(["--config", str(file)])
    assert by_file == by_flags
    assert {key for key, value in by_file.items() if value != meant([])[key]} <= {option.name for option in chosen}
    assert all(by_file[str(option.name)] != () for option in chosen)
    assert meant(["--config", str(file), *given]) == by_flags  # said twice


def test_a_run_says_what_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("headless = true")
    done = CliRunner().invoke(run, ["--config", str(file)])
    assert done.exit_code == 2
    assert "name what to watch with --camera N or --source URI" in done.output
