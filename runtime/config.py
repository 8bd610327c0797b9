"""`--config FILE`: a TOML file that says the same as the options of a command; and `--log-level`.

The options are the one owner: their names are the file's keys, their types are what may stand there, and an option on
the command line wins over the file. A new option is a key of the file without another word.
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

ELSEWHERE: Final = frozenset({"config", "version", "help"})  # options that are no settings


class ConfiguredCommand(Command):
    """A command that runs for long, with `--config` and `--log-level`.

    Of each of `either`, names that exclude each other, the command line's one counts.
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
            help="A TOML file whose keys are these options, such as headless = true; options win over it.",
        )
        level = click.Option(
            ["--log-level"],
            type=click.Choice(LEVELS),
            default="info",
            show_default=True,
            help="What is said on standard error; debug leaves no repetition out.",
        )
        self.params += [level, config]

    def main(self, *args: Any, **settings: Any) -> Any:
        """The whole command; where it is the process's own, nothing that hangs outlives it."""
        try:
            return super().main(*args, **settings)
        except SystemExit as end:
            if not args and settings.get("args") is None:  # the words are the process's
                end_process(end.code if isinstance(end.code, int) else 0)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; what it says meanwhile has time and level."""
        with saying(ctx.params.pop("log_level")):
            return super().invoke(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As usual; then the file gives way to the command line where the two name different ones of `either`."""
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
    """The settings of a file by the names of the command's parameters; raises RecipeError for what is none of them."""
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
        with one_line_errors("server"):  # options are read before the command's own guard stands
            context.default_map = read_config(file, context.command)


def _tables(file: Path) -> Mapping[str, Any]:
    # In Python from 3.11 on; a JetPack 6 has 3.10.
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        found: dict[str, Any] = toml.loads(read_small(file).decode("utf-8-sig"))
    except (OSError, toml.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file} can't be read as TOML: {error}.") from error
    return found


def _options(command: click.Command) -> dict[str, click.Option]:
    """Those that a file may set."""
    found = {option.name: option for option in command.params if isinstance(option, click.Option)}
    return {name: option for name, option in found.items() if name is not None and name not in ELSEWHERE}


def _fault(value: object, option: click.Option) -> str | None:
    """What the option takes, where the value is of another kind; its range is click's to judge."""
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
    """One value of an option that may be repeated is a list of one."""
    return [value] if option.multiple and not isinstance(value, list) else value


def _kind(value: object) -> str:
    """What stands there, in TOML's words; the value itself may be a secret."""
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a table"}
    return names.get(type(value), "a date")


def _name(key: str) -> str:
    return key.replace("-", "_")


def _key(name: str) -> str:
    return name.replace("_", "-")
