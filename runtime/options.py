"""The options of a command, made from the fields of its settings: name, type, default and help are said once, there.

A field is an option where its annotation holds an Option, and is called as the field is:
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
    """What an option says beyond its field's name, type and default."""

    help: str
    metavar: str | None = None
    bounds: click.ParamType[Any] | None = None  # such as click.IntRange(min=1), in place of the field's type
    default: str | None = None  # what leaving it out means, where the field's default does not say it
    alone: str | None = None  # what the flag without a value means
    both: bool = False  # a switch with --no-
    several: bool = False  # texts, one for each time it is given


def options_of(settings: type[msgspec.Struct]) -> Callable[[F], F]:
    """Give a command an option for each field of `settings` whose annotation has an Option, in their order."""
    hints = typing.get_type_hints(settings, include_extras=True)
    made = [
        _option(field, hints[field.name].__origin__, said)
        for field in msgspec.structs.fields(settings)
        if (said := _said(hints[field.name])) is not None
    ]

    def decorate(command: F) -> F:
        for option in reversed(made):  # a decorator's option comes before those below it
            command = option(command)
        return command

    return decorate


def _said(hint: Any) -> Option | None:
    """The Option of an annotation, if it has one."""
    return next((part for part in getattr(hint, "__metadata__", ()) if isinstance(part, Option)), None)


def _option(field: Any, hint: Any, said: Option) -> Callable[[F], F]:
    """The option of a field, as click has it."""
    flag = f"--{field.name.replace('_', '-')}"
    words: dict[str, Any] = {"metavar": said.metavar, "help": said.help}
    if said.default is not None:
        words["help"] += f" [default: {said.default}]"
    if said.several:
        return click.option(flag, multiple=True, **words)
    if (kind := said.bounds or _kind(hint)) is bool:
        flags = f"{flag}/--no-{flag.removeprefix('--')}" if said.both else flag
        return click.option(flags, is_flag=True, default=field.default, **words)
    if said.alone is not None:
        words |= {"is_flag": False, "flag_value": said.alone}
    if not field.required:
        words |= {"default": field.default, "show_default": field.default is not None}
    return click.option(flag, type=kind, required=field.required, **words)


def _kind(hint: Any) -> Any:
    """The type of an option, as click has it, from that of its field."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        (hint,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
    return click.Choice(typing.get_args(hint)) if typing.get_origin(hint) is Literal else _TYPES[hint]
