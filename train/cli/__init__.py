"""`stpr-train`, one module for each command: options there, the work elsewhere.

Whatever is heavy (torch, OpenCV, matplotlib) is imported when a command runs, so that `--help` and `--version` are
quick and work where only the runtime is installed.
"""

from __future__ import annotations

from typing import Final

from stpr.runtime.contract.command import Group
from stpr.train.cli import audit, compare, learn

DEFAULT: Final = "learn"  # the command that needs no name
COMMANDS: Final = {
    DEFAULT: learn.command,
    "compare": compare.command,
    "audit": audit.command,
}


main = Group("stpr-train", default=DEFAULT, commands=COMMANDS, extra="train", help="Learn stages of actions.")
