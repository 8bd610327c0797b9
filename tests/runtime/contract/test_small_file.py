"""What a person writes for us is read whole, also from a pipe, and is refused where it never ends."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stpr.runtime.cli import run
from stpr.runtime.config import read_config
from stpr.runtime.contract.errors import StprError
from stpr.runtime.contract.signature import read_public_key
from stpr.runtime.contract.small_file import MOST, read_small
from stpr.runtime.serve.access import read_token
from stpr.runtime.sinks.credentials import read_secret

READERS: list[Callable[[Path], object]] = [
    lambda file: read_secret(file, "--login", 2),
    lambda file: read_config(file, run),
    read_token,
    read_public_key,
]


def test_all_of_it_is_read_also_from_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a" * MOST)
    assert read_small(tmp_path / "file") == b"a" * MOST
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"b" * 200_000,))
    writer.start()
    assert read_small(tmp_path / "pipe") == b"b" * 200_000
    writer.join()


@pytest.mark.parametrize("reader", READERS)
def test_what_never_ends_is_refused_in_one_line(reader: Callable[[Path], object]) -> None:
    with pytest.raises(StprError, match=r"^[^\n]*/dev/zero[^\n]*File too large[^\n]*$"):
        reader(Path("/dev/zero"))
