"""Options made of the fields of settings: type, default and help are the field's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import click
import msgspec
import pytest
from click.testing import CliRunner

from stpr.runtime.cli import bench, check, record, run
from stpr.runtime.options import Option, options_of
from stpr.runtime.settings import BenchSettings, CheckSettings, RecordSettings, Settings


class Toy(msgspec.Struct, frozen=True, kw_only=True):
    plain: int = 1  # no option
    folder: Annotated[Path, Option(metavar="DIR", help="Where.")]
    more_folders: Annotated[tuple[str, ...], Option(several=True, help="More of them.", default="none")] = ()
    rate: Annotated[float, Option(bounds=click.FloatRange(min=0), help="How fast.")] = 2
    kind: Annotated[Literal["tall", "wide"], Option(help="Which.")] = "wide"
    page: Annotated[str | None, Option(alone="here", help="A page.")] = None
    wait: Annotated[bool | None, Option(both=True, help="Wait.", default="at night")] = None
    loud: Annotated[bool, Option(help="Loud.")] = False


@click.command()
@options_of(Toy)
def command(**options: Any) -> None:
    click.echo(repr(Toy(**options)))


def meant(*arguments: str) -> Toy:
    return Toy(**command.make_context("toy", [*arguments]).params)


def test_what_is_left_out_is_the_fields_default() -> None:
    assert meant("--folder", "a") == Toy(folder=Path("a"))


def test_what_is_given_has_the_fields_type() -> None:
    said = ["--folder", "a", "--more-folders", "b", "--more-folders", "c", "--rate", "3", "--kind", "tall"]
    wanted = Toy(folder=Path("a"), more_folders=("b", "c"), rate=3.0, kind="tall", page="here", wait=False, loud=True)
    assert meant(*said, "--no-wait", "--loud", "--page") == wanted
    assert meant("--folder", "a", "--page", "there").page == "there"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing option '--folder'"),
        (["--folder", "a", "--rate", "-1"], "-1.0 is not in the range x>=0"),
        (["--folder", "a", "--kind", "round"], "'round' is not one of 'tall', 'wide'"),
        (["--folder", "a", "--plain", "2"], "No such option"),
    ],
)
def test_what_is_none_of_it_is_refused(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 2
    assert message in done.output


def test_the_help_says_order_defaults_and_bounds() -> None:
    told = " ".join(CliRunner().invoke(command, ["--help"]).output.split())
    assert "--folder DIR Where. [required] --more-folders TEXT More of them. [default: none] --rate" in told
    assert "How fast. [default: 2; x>=0]" in told
    assert "--kind [tall|wide] Which. [default: wide]" in told
    assert "--wait / --no-wait Wait. [default: at night] --loud Loud. --help" in told


@pytest.mark.parametrize(
    ("made", "settings", "options", "fields"),
    [
        # A camera is a source by its number; tables are for callers from Python: their defaults were measured.
        (run, Settings, {"camera"}, {"more_sources", "updates"}),
        (check, CheckSettings, {"bundle", "as_json"}, set()),
        (bench, BenchSettings, set(), set()),
        (record, RecordSettings, {"camera"}, set()),
    ],
    ids=["run", "check", "bench", "record"],
)
def test_every_option_is_a_setting_and_the_other_way_round(
    made: click.Command, settings: type[msgspec.Struct], options: set[str], fields: set[str]
) -> None:
    found = {parameter.name for parameter in made.params} - {"version", "config", "log_level"}
    assert found - options == set(settings.__struct_fields__) - fields
    assert options <= found
