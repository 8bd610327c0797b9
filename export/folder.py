"""A folder that is there whole or not at all, whatever interrupts the writing of it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from stpr.runtime.contract.errors import BundleError

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def whole_or_nothing(target: Path, *, needs: int) -> Iterator[Path]:
    """A hidden folder beside `target` to write into; it takes the target's place when the block ends without an error.

    `needs` is about how many bytes will be written. Raises BundleError when there is no room or no permission; a
    folder that is already at `target` stays as it is until the new one is complete.
    """
    part = target.with_name(f".{target.name}.part")
    try:
        _recover(target)
        shutil.rmtree(part, ignore_errors=True)  # of an export that was killed
        part.mkdir(parents=True)
        if shutil.disk_usage(part).free < needs:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield part
        _put_in_place(part, target)
    except OSError as error:
        raise BundleError(_explain(error, target, needs)) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _put_in_place(part: Path, target: Path) -> None:
    old = _old(target)
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.replace(old)
    try:
        part.replace(target)
    except OSError:
        _recover(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _recover(target: Path) -> None:
    """Put back what was moved aside for a successor that never came."""
    if _old(target).exists() and not target.exists():
        _old(target).replace(target)


def _old(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")


def _explain(error: OSError, target: Path, needs: int) -> str:
    if error.errno in FULL:
        return (
            f"no space left for {target} ({error.strerror}): it needs about {needs / 1e6:.1f} MB;"
            " free some, or choose another --out."
        )
    return f"{target} can't be written ({error}); check the path and its permissions, or choose another --out."
