"""The command line `stpr-train`: one module per subcommand, which parses its options and calls the other packages.

Heavy packages (torch, OpenCV, matplotlib) are imported when a command runs, so that `--help` and `--version` are
fast and work where only the runtime is installed.
"""

from __future__ import annotations

from typing import Final

from stpr.runtime.contract.command import Group
from stpr.train.cli import audit, compare, learn

DEFAULT: Final = "learn"  # the command that runs when none is named
COMMANDS: Final = {
    DEFAULT: learn.command,
    "compare": compare.command,
    "audit": audit.command,
}


main = Group("stpr-train", default=DEFAULT, commands=COMMANDS, extra="train", help="Learn stages of actions.")
