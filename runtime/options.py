"""Create a command's options from the fields of its settings, so that name, type, default and help are stated once.

A field is an option if its annotation contains an Option; the option has the field's name:
`clips: Annotated[Path | None, Option(metavar="DIR", help="…")] = None` is `--clips DIR`.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, Union

import click
import msgspec

F = TypeVar("F", bound=Callable[..., Any])

_TYPES: Final[dict[type, Any]] = {Path: click.Path(path_type=Path), str: str, int: int, float: float, bool: bool}


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """The properties of an option beyond its field's name, type and default."""

    help: str
    metavar: str | None = None
    bounds: click.ParamType[Any] | None = None  # such as click.IntRange(min=1), instead of the field's type
    default: str | None = None  # description of the default, if the field's value does not show it
    alone: str | None = None  # value of the option given without a value
    both: bool = False  # also has a --no- form
    several: bool = False  # may be repeated


def options_of(settings: type[msgspec.Struct]) -> Callable[[F], F]:
    """A decorator that adds an option for each field of `settings` with an Option, in order."""
    hints = typing.get_type_hints(settings, include_extras=True)
    made = [
        _option(field, hints[field.name].__origin__, option)
        for field in msgspec.structs.fields(settings)
        if (option := _described(hints[field.name])) is not None
    ]

    def decorate(command: F) -> F:
        for option in reversed(made):  # decorators apply from bottom to top
            command = option(command)
        return command

    return decorate


def _described(hint: Any) -> Option | None:
    """The Option of an annotation, if it has one."""
    return next((part for part in getattr(hint, "__metadata__", ()) if isinstance(part, Option)), None)


def _option(field: Any, hint: Any, option: Option) -> Callable[[F], F]:
    """The click option of a field."""
    flag = f"--{field.name.replace('_', '-')}"
    words: dict[str, Any] = {"metavar": option.metavar, "help": option.help}
    if option.default is not None:
        words["help"] += f" [default: {option.default}]"
    if option.several:
        return click.option(flag, multiple=True, **words)
    if (kind := option.bounds or _kind(hint)) is bool:
        flags = f"{flag}/--no-{flag.removeprefix('--')}" if option.both else flag
        return click.option(flags, is_flag=True, default=field.default, **words)
    if option.alone is not None:
        words |= {"is_flag": False, "flag_value": option.alone}
    if not field.required:
        words |= {"default": field.default, "show_default": field.default is not None}
    return click.option(flag, type=kind, required=field.required, **words)


def _kind(hint: Any) -> Any:
    """The click type for a field's type."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        (hint,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
    return click.Choice(typing.get_args(hint)) if typing.get_origin(hint) is Literal else _TYPES[hint]
