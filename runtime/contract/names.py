"""Names of files as libraries can open them, and as messages can show them.

OpenCV ends the process over a name that is not UTF-8, onnxruntime does not take it, and OpenCV's FFmpeg takes
`a:b.mp4` for an address of the kind `a`.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from stpr.runtime.contract.errors import SourceError


@contextmanager
def openable(path: Path) -> Iterator[str]:
    """A name by which a file or folder can be opened within the block: its own, whole, or that of a link to it."""
    whole = Path(os.path.abspath(path))  # noqa: PTH100  (links stay what they are)
    if is_text(str(whole)):
        yield str(whole)
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / (f"file{whole.suffix}" if is_text(whole.suffix) else "file")
        link.symlink_to(whole)
        yield str(link)


def shown(name: Path | str) -> str:
    r"""The name as text: bytes that are no UTF-8 appear as `\xNN`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def local_path(address: str) -> Path:
    """The file or folder that a source names: a path, or a file: address of this machine."""
    if not address.startswith("file://"):
        return Path(address)
    return Path(unquote(f"/{address.removeprefix('file://').partition('/')[2]}"))


def is_text(name: str) -> bool:
    """Whether all of a name that came from the system is UTF-8."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


# What names a secret somewhere within an address, as in ;password=… or /user=admin_password=…_channel=1.
SECRET = re.compile(r"(?i)(user(?:name)?|login|usr|pass(?:word|wd)?|pwd|token|key|auth|secret)=[^/&?]*")


def masked(url: str) -> str:
    """The address without user, password and query, whatever shape they have: fit for messages and logs."""
    # Greedy to the last @: passwords hold @ and / more often than paths hold @.
    scheme, separator, rest = url.partition("://")
    if not separator:  # a forgotten scheme
        scheme, rest = "", url
    if "@" in rest:
        rest = "***@" + rest.rpartition("@")[2]
    return scheme + separator + SECRET.sub(r"\1=***", re.sub(r"\?.*", "?***", rest))


def address_text(given: str) -> str:
    """What is given; raises SourceError where OpenCV can't take it."""
    if not is_text(given):
        raise SourceError(f"{masked(shown(given))} is no address: some of it is not UTF-8; write such bytes as %NN.")
    return given
