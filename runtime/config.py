"""`--config FILE`: a TOML file with the options of a command; and `--log-level`.

The file's keys and types follow from the command's options, so a new option is automatically a key. Options on the
command line have priority over the file.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from stpr.runtime.contract.command import Command, one_line_errors
from stpr.runtime.contract.errors import RecipeError
from stpr.runtime.contract.small_file import read_small
from stpr.runtime.log import LEVELS, saying
from stpr.runtime.stopping import end_process

ELSEWHERE: Final = frozenset({"config", "version", "help"})  # options that are not settings


class ConfiguredCommand(Command):
    """A long-running command, with `--config` and `--log-level`.

    `either`: groups of options that exclude each other; one on the command line replaces another in the file.
    """

    def __init__(self, *args: Any, either: Sequence[Sequence[str]] = (), **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._either = either
        config = click.Option(
            ["--config"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            is_eager=True,
            expose_value=False,
            callback=_read_config,
            help="A TOML file whose keys are these options, such as headless = true; the command line has priority.",
        )
        level = click.Option(
            ["--log-level"],
            type=click.Choice(LEVELS),
            default="info",
            show_default=True,
            help="Which messages are shown on standard error; debug also shows repetitions.",
        )
        self.params += [level, config]

    def main(self, *args: Any, **settings: Any) -> Any:
        """Run the command; if it is the process's main command, hanging threads don't keep the process alive."""
        try:
            return super().main(*args, **settings)
        except SystemExit as end:
            if not args and settings.get("args") is None:  # the arguments are the process's
                end_process(end.code if isinstance(end.code, int) else 0)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run with logging set up."""
        with saying(ctx.params.pop("log_level")):
            return super().invoke(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as in click; then drop values of the file that exclude an option on the command line."""
        rest = super().parse_args(ctx, args)
        for names in self._either:
            sources = {name: ctx.get_parameter_source(name) for name in names}
            if ParameterSource.COMMANDLINE in sources.values():
                for name, source in sources.items():
                    if source is ParameterSource.DEFAULT_MAP:
                        empty = () if getattr(_options(self)[name], "multiple", False) else None
                        ctx.params[name] = empty
        return rest


def read_config(file: Path, command: click.Command) -> dict[str, Any]:
    """Read a file's values by parameter name; raises RecipeError for unknown keys and wrong types."""
    tables, options = _tables(file), _options(command)
    for key, value in tables.items():
        if (name := _name(key)) not in options:
            near = difflib.get_close_matches(name, options, n=1)
            hint = f"did you mean {_key(near[0])}? " if near else ""
            raise RecipeError(f"{file}: there is no option {key}: {hint}Known are {', '.join(map(_key, options))}.")
        if (wanted := _fault(value, options[name])) is not None:
            raise RecipeError(f"{file}: {key} takes {wanted}, not {_kind(value)}.")
    if len({_name(key) for key in tables}) < len(tables):
        raise RecipeError(f"{file} names an option twice, once with - and once with _; remove one of them.")
    return {_name(key): _several(value, options[_name(key)]) for key, value in tables.items()}


def _read_config(context: click.Context, option: click.Parameter, file: Path | None) -> None:  # noqa: ARG001
    if file is not None and not context.resilient_parsing:
        with one_line_errors("server"):  # options are parsed before the command's own error handling starts
            context.default_map = read_config(file, context.command)


def _tables(file: Path) -> Mapping[str, Any]:
    # In Python since 3.11; JetPack 6 has 3.10.
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        found: dict[str, Any] = toml.loads(read_small(file).decode("utf-8-sig"))
    except (OSError, toml.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file} can't be read as TOML: {error}.") from error
    return found


def _options(command: click.Command) -> dict[str, click.Option]:
    """The options that a file may set."""
    found = {option.name: option for option in command.params if isinstance(option, click.Option)}
    return {name: option for name, option in found.items() if name is not None and name not in ELSEWHERE}


def _fault(value: object, option: click.Option) -> str | None:
    """The expected type if the value has another one, else None; ranges are checked by click."""
    many = option.multiple or option.nargs != 1
    values = value if many and isinstance(value, list) else [value]
    number = isinstance(option.type, (click.types.IntParamType, click.types.FloatParamType))
    kinds: tuple[type, ...]
    if option.is_flag:
        wanted, kinds = "true or false", (bool,)
    elif number:
        wanted, kinds = "a number", (int, float)
    else:
        wanted, kinds = "text in quotes", (str,)
    fits = all(isinstance(one, kinds) and one != "" and isinstance(one, bool) == option.is_flag for one in values)
    return None if fits else f"{wanted}, or a list of such" if many else wanted


def _several(value: Any, option: click.Option) -> Any:
    """Wrap a single value of a repeatable option in a list."""
    return [value] if option.multiple and not isinstance(value, list) else value


def _kind(value: object) -> str:
    """The value's type in TOML's terms; the value itself may be a secret."""
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a table"}
    return names.get(type(value), "a date")


def _name(key: str) -> str:
    return key.replace("-", "_")


def _key(name: str) -> str:
    return name.replace("_", "-")
