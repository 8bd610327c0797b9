"""`stpr-train`, one module for each command: options there, the work elsewhere.

Whatever is heavy (torch, OpenCV, matplotlib) is imported when a command runs, so that `--help` and `--version` are
quick and work where only the runtime is installed.
"""

from __future__ import annotations

from typing import Final

import click

from stpr.runtime.contract.command import Group
from stpr.train.cli import audit, compare, learn

DEFAULT: Final = "learn"  # the command that needs no name
COMMANDS: Final = {
    DEFAULT: learn.command,
    "compare": compare.command,
    "audit": audit.command,
}


class _Commands(Group):
    """`stpr-train RECIPE …` learns; whatever else there is to do has a name in front."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take anything but the name of a command for a recipe or its options."""
        named = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if named else [DEFAULT, *args])


main = _Commands("stpr-train", commands=COMMANDS, extra="train", help="Learn stages of actions.")
