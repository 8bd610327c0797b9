"""The common part of stpr's command lines: `--version`, and one-line messages for errors that a user can fix.

No other module of the contract imports click. Nothing heavy is imported here, so that `--help` and `--version` are fast
and need no torch.
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
from pathlib import Path
from typing import Any

import click

from stpr.runtime.contract.errors import StprError
from stpr.runtime.contract.names import is_text, shown

# These two have variants for kinds of machines, so the command can't know which extra to install.
OPENCV = 'OpenCV can\'t be imported here ({}): `pip install "stpr[server]"`, or "stpr[desktop]" for a window.'
ONNXRUNTIME = (
    'onnxruntime can\'t be imported here ({}): `pip install "stpr[server]"`, or "stpr[gpu]" for an NVIDIA GPU.'
)
OTHERS = '{} can\'t be imported here ({}): `pip install "stpr[{}]"`.'


class _Reported(click.ClickException):
    """An error that click prints as `Error: …` on standard error."""

    exit_code = StprError.exit_code


class Command(click.Command):
    """A command with `--version`. `extra`: the pip extra that installs the packages it imports when it runs."""

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
        """Run the command; a locale without UTF-8, a lost working folder and a full disk are one line too."""
        if sys.getfilesystemencoding() != "utf-8":
            click.echo(
                f"Error: file names are in {sys.getfilesystemencoding()} by this locale, not in UTF-8; set"
                " PYTHONUTF8=1 (export PYTHONUTF8=1).",
                err=True,
            )
            sys.exit(StprError.exit_code)
        try:
            Path.cwd()
        except FileNotFoundError:
            click.echo("Error: the current folder was deleted; change to one that exists.", err=True)
            sys.exit(StprError.exit_code)
        try:
            return super().main(*args, **settings)
        except OSError as error:
            if error.errno != errno.ENOSPC or error.filename is not None:
                raise
            click.echo("Error: can't write to standard output: its disk is full.", err=True)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # since Python flushes once more at exit
            sys.exit(StprError.exit_code)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As in click, but reject empty values, which would mean the current folder, or nothing."""
        for before, word in pairwise(["", *args]):
            if word == "" or re.fullmatch(r"--[\w-]+=", word):
                name = word.rstrip("=") or (before if before.startswith("-") else "an argument")
                raise click.UsageError(f"{name} is empty; is it a variable that is not set?", ctx)
        strict, ctx.allow_extra_args = not ctx.allow_extra_args, True
        rest = super().parse_args(ctx, args)
        if strict and ctx.args:
            raise click.UsageError(self._unexpected(ctx.args[0]), ctx)
        return rest

    def _unexpected(self, word: str) -> str:
        """Where a command has options alone, name a bundle's, else the first one that takes a text."""
        takes = [option for option in self.params if isinstance(option, click.Option) and not option.is_flag]
        texts = [max(option.opts, key=len) for option in takes if not isinstance(option.type, click.IntRange)]
        if not texts or any(isinstance(param, click.Argument) for param in self.params):
            return f"unexpected argument {shown(word)}."
        bundle = "--bundle" in texts and (Path(word) / "manifest.json").is_file()
        name = "--bundle" if bundle else texts[0]
        return f"unexpected argument {shown(word)}; a value follows its option, such as {name} {shown(word)}."

    def invoke(self, ctx: click.Context) -> Any:
        """Run with `one_line_errors`; a command in a group leaves that to the group, which knows the extra."""
        with one_line_errors(self.extra) if ctx.parent is None else nullcontext():
            return super().invoke(ctx)


class Group(Command, click.Group):
    """A group of commands; arguments that do not start with a command's name go to the command `default`."""

    command_class = Command

    def __init__(self, *args: Any, default: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert the default command's name if none is given; reject paths that are not UTF-8.

        The working folder is part of every relative path, and libraries see the target of a link.
        """
        if odd := [word for word in (".", *args) if not is_text(word) or not is_text(os.path.realpath(word))]:
            name = shown(os.path.realpath(odd[0])) if is_text(odd[0]) else shown(odd[0])
            raise _Reported(f"{name} is not in UTF-8; rename the file or folder.")
        named = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if named else [self.default, *args])

    def invoke(self, ctx: click.Context) -> Any:
        """Run it, with threads of PyTorch that sleep where they wait for each other.

        Awake they took ten times the CPU seconds where cores are shared. OpenMP reads this when torch is imported.
        """
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        return super().invoke(ctx)


class Unnamed(Command):
    """The default command of a group; its help lists the group's other commands."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the usage without the command's name."""
        assert ctx.parent is not None
        formatter.write_usage(ctx.parent.command_path, " ".join(self.collect_usage_pieces(ctx)))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the other commands."""
        super().format_epilog(ctx, formatter)
        assert ctx.parent is not None
        assert isinstance(ctx.parent.command, click.Group)
        others = {name: command for name, command in ctx.parent.command.commands.items() if command is not self}
        with formatter.section("Other commands (each has its own --help)"):
            formatter.write_dl([(name, command.get_short_help_str(200)) for name, command in others.items()])


@contextmanager
def one_line_errors(extra: str) -> Iterator[None]:
    """Turn StprError, OSError about a path, and a missing package into one line and exit code 2."""
    try:
        yield
    except StprError as error:
        raise _Reported(shown(error.message)) from error  # a file name in it may have a line break
    except OSError as error:
        if error.filename is None or error.strerror is None:
            raise
        # Unforeseen errors on the user's paths: permissions, a full disk, a name that is too long.
        name = shown(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes)) else error.filename
        raise _Reported(f"{name}: {error.strerror}; check the path, its permissions and the free space.") from error
    except ImportError as error:
        if (remedy := what_to_install(error, extra)) is None:
            raise
        raise _Reported(remedy) from error


def what_to_install(error: ImportError, extra: str) -> str | None:
    """A line on how to install a missing third-party package; None for our own and Python's modules, a bug."""
    name = (error.name or "").partition(".")[0]
    reason = " ".join(str(error).split())
    if name in {"", "stpr"} or name in sys.stdlib_module_names:
        return None
    if name == "cv2":
        return OPENCV.format(reason)
    if name == "onnxruntime":
        return ONNXRUNTIME.format(reason)
    return OTHERS.format(name, reason, extra)


def _show_version(context: click.Context, option: click.Parameter, wanted: bool) -> None:  # noqa: ARG001
    if wanted and not context.resilient_parsing:
        click.echo(f"stpr {version('stpr')}")
        context.exit()
