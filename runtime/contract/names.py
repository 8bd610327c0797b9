"""File names in a form that libraries can open, and that messages can show.

OpenCV aborts the process on a name that is not UTF-8, onnxruntime rejects it, and OpenCV's FFmpeg reads `a:b.mp4` as a
URL with the protocol `a`.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote_to_bytes

from stpr.runtime.contract.errors import SourceError


@contextmanager
def openable(path: Path) -> Iterator[str]:
    """A path by which a file or folder can be opened within the block: its absolute path, or a temporary link's."""
    whole = Path(os.path.abspath(path))  # noqa: PTH100  (links stay what they are)
    if is_text(str(whole)):
        yield str(whole)
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / (f"file{whole.suffix}" if is_text(whole.suffix) else "file")
        link.symlink_to(whole)
        yield str(link)


def shown(name: Path | str) -> str:
    r"""A printable name, in one line: bytes that are not UTF-8 appear as `\xNN`, and so do control characters."""
    text = str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: found[0].encode("unicode_escape").decode(), text)


def local_path(address: str) -> Path:
    """The local path of a source: a path, or a file: URL."""
    scheme, _, rest = address.partition("://")
    if scheme.lower() != "file":
        return Path(address)
    return Path(os.fsdecode(unquote_to_bytes(os.fsencode(f"/{rest.partition('/')[2]}"))))


def in_order(path: Path) -> list[int | str]:
    """Sort key: a path with its numbers by value, so that clip2 is before clip10; a folder's files stay together."""
    parts = re.split(r"(\d+)", "\0".join(path.parts))
    return [int(part) if part.isdecimal() else part for part in parts]


def is_text(name: str) -> bool:
    """Whether a name from the file system is valid UTF-8."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


# Parameters with secrets inside a URL, as in ;password=… or /user=admin_password=…_channel=1.
SECRET = re.compile(r"(?i)(user(?:name)?|login|usr|pass(?:word|wd)?|pwd|token|key|auth|secret)=[^/&?]*")


def masked(url: str) -> str:
    """The URL without user, password and query in any form, safe for messages and logs."""
    # Greedy to the last @, since passwords contain @ and / more often than paths contain @.
    scheme, separator, rest = url.partition("://")
    if not separator:  # no scheme
        scheme, rest = "", url
    if "@" in rest:
        rest = "***@" + rest.rpartition("@")[2]
    return scheme + separator + SECRET.sub(r"\1=***", re.sub(r"\?.*", "?***", rest))


def address_text(given: str) -> str:
    """Return the address; raises SourceError if OpenCV can't open it."""
    if not is_text(given):
        raise SourceError(f"{masked(shown(given))} is not a valid address: it is not UTF-8; write such bytes as %NN.")
    return given
