"""Files that a person writes for us: settings, secrets, keys."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

MOST: Final = 1 << 20  # bytes


def read_small(path: Path) -> bytes:
    """All that is there, also of a pipe (`<(command)`). Raises OSError, too where it is far too much or never ends."""
    with path.open("rb") as file:
        content = file.read(MOST + 1)
    if len(content) > MOST:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content
