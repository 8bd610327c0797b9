"""What all command lines of stpr do alike: `--version`, and one line for every error that a user can mend.

No other module of the contract knows of click. This one imports nothing heavy: where a command imports what is heavy
when it runs, `--help` and `--version` are quick and need no torch.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import click

from stpr.runtime.contract.errors import StprError
from stpr.runtime.contract.names import is_text, shown

# These two come in flavours for kinds of machines, so the command that needs them can't say which extra to install.
OPENCV = 'OpenCV can\'t be imported here ({}): `pip install "stpr[server]"`, or "stpr[desktop]" for a window.'
ONNXRUNTIME = (
    'onnxruntime can\'t be imported here ({}): `pip install "stpr[server]"`, or "stpr[gpu]" for an NVIDIA GPU.'
)
OTHERS = '{} can\'t be imported here ({}): `pip install "stpr[{}]"`.'


class _Reported(click.ClickException):
    """An error that click prints as `Error: …` on standard error."""

    exit_code = StprError.exit_code


class Command(click.Command):
    """A command with `--version`. `extra` names the extra of `pip install` that brings what it imports when it runs."""

    def __init__(self, *args: Any, extra: str = "server", **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.extra = extra
        show = click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_version,
            help="Show the version and exit.",
        )
        self.params.append(show)

    def main(self, *args: Any, **settings: Any) -> Any:
        """The whole command; a standard output that takes no more is one line as well."""
        try:
            return super().main(*args, **settings)
        except OSError as error:
            if error.errno != errno.ENOSPC or error.filename is not None:
                raise
            click.echo("Error: standard output takes no more: its disk is full.", err=True)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python will try once more to write what is left
            sys.exit(StprError.exit_code)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As usual, but a value that is there and empty is none: it would mean this very folder, or nothing."""
        for before, word in pairwise(["", *args]):
            if word == "" or re.fullmatch(r"--[\w-]+=", word):
                name = word.rstrip("=") or (before if before.startswith("-") else "an argument")
                raise click.UsageError(f"{name} is empty; is it of a variable that is not set?", ctx)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; see `one_line_errors`. A command in a group leaves that to the group, which knows the extra."""
        with one_line_errors(self.extra) if ctx.parent is None else nullcontext():
            return super().invoke(ctx)


class Group(Command, click.Group):
    """A group of commands of which `default` needs no name: what does not begin with a command's name is for that."""

    command_class = Command

    def __init__(self, *args: Any, default: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the name of the default in front where no command is named; refuse what no recipe or graph can name."""
        if odd := [word for word in args if not is_text(word)]:
            raise click.UsageError(f"{shown(odd[0])} is not in UTF-8; rename the file or folder.", ctx)
        named = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if named else [self.default, *args])


class Unnamed(Command):
    """The default of a group: its help is the first that anybody reads, so it lists the group's other commands."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Leave the name out where the user does."""
        assert ctx.parent is not None
        formatter.write_usage(ctx.parent.command_path, " ".join(self.collect_usage_pieces(ctx)))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Name the other commands, each with a --help of its own."""
        super().format_epilog(ctx, formatter)
        assert ctx.parent is not None
        assert isinstance(ctx.parent.command, click.Group)
        others = {name: command for name, command in ctx.parent.command.commands.items() if command is not self}
        with formatter.section("Other commands (each has its own --help)"):
            formatter.write_dl([(name, command.get_short_help_str(200)) for name, command in others.items()])


@contextmanager
def one_line_errors(extra: str) -> Iterator[None]:
    """Turn StprError, what the system says against a path, and a missing package into one line and exit code 2."""
    try:
        yield
    except StprError as error:
        raise _Reported(error.message) from error
    except OSError as error:
        if error.filename is None or error.strerror is None:
            raise
        # What nobody foresaw is still about a place of the user's: permissions, a full disk, a name that is too long.
        name = shown(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes)) else error.filename
        raise _Reported(f"{name}: {error.strerror}; check the path, its permissions and the room there.") from error
    except ImportError as error:
        if (remedy := what_to_install(error, extra)) is None:
            raise
        raise _Reported(remedy) from error


def what_to_install(error: ImportError, extra: str) -> str | None:
    """One line about a third-party package that can't be imported; None for our own and Python's, which is a bug."""
    name = (error.name or "").partition(".")[0]
    reason = " ".join(str(error).split())
    if name in {"", "stpr"} or name in sys.stdlib_module_names:
        return None
    if name == "cv2":
        return OPENCV.format(reason)
    if name == "onnxruntime":
        return ONNXRUNTIME.format(reason)
    return OTHERS.format(name, reason, extra)


def _show_version(context: click.Context, option: click.Parameter, asked: bool) -> None:  # noqa: ARG001
    if asked and not context.resilient_parsing:
        click.echo(f"stpr {version('stpr')}")
        context.exit()
