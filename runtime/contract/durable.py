"""Files and folders that are there whole or not at all, and on the disk before anyone is told that they are written.

Everything is written aside, under a hidden name in the same folder, flushed to the disk (fsync), renamed, and the
folder's own entry flushed too: after a crash, a kill or a power cut there is the old content or the new one. A writer
keeps its hidden file or folder locked (flock), so what a killed writer left is told from what another one is writing;
the next write into the same folder removes it.

All functions raise OSError; `explain` words it for a user.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final

PART: Final = ".stpr-part"  # being written, or replaced and about to be removed
OLD: Final = ".stpr-old"  # moved aside where two folders can't swap places
LOCK: Final = ".stpr-lock"
MOST_TRIES: Final = 100  # to make a lock file that others keep removing
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
CANNOT_SWAP: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})
AT_FDCWD: Final = -100
RENAME_EXCHANGE: Final = 2


class FolderInUseError(OSError):
    """Another process is writing this folder."""


def write_file(target: Path, data: bytes) -> Path:
    """Write a file whole or not at all; returns its path. Missing folders are made."""
    with whole_file(target) as part:
        part.write_bytes(data)
    return target


def write_new_file(target: Path, data: bytes) -> Path:
    """The same where there must be none yet: raises FileExistsError, whoever was first."""
    target = _resolved(target)
    _make_folder(target.parent)
    with _new_part(target, _make_file) as part:
        part.write_bytes(data)
        _flush(part)
        target.touch(exist_ok=False)  # ours from here on; a hard link would be one step, but not every disk has them
        part.replace(target)
        _flush(target.parent)
    return target


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """An empty hidden file beside `target` to write to; it replaces the target when the block ends without an error."""
    target = _resolved(target)
    _make_folder(target.parent)
    with _new_part(target, _make_file) as part:
        yield part
        _flush(part)
        part.replace(target)
        _flush(target.parent)


@contextmanager
def whole_folder(target: Path, *, needs: int = 0) -> Iterator[Path]:
    """A hidden folder beside `target` to write into; it takes the target's place when the block ends without an error.

    A folder that is already at `target` stays until then, and is replaced entirely. `needs` is about how many bytes
    will be written: too little room is an error before the work.
    """
    target = _resolved(target)
    _make_folder(target.parent)
    _recover(target)
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target))
    with _new_part(target, Path.mkdir) as part:
        if shutil.disk_usage(part).free < needs:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        yield part
        _flush_tree(part)
        _put_in_place(part, target)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep every other process (and thread) out of a folder that need not exist yet, by a hidden lock file beside it.

    Raises FolderInUseError naming the process that holds it and since when. The lock of a killed process is free.
    """
    folder = _resolved(folder)
    lock = folder.with_name(f".{folder.name}{LOCK}")
    _make_folder(folder.parent)
    tries = 0
    while (descriptor := _take(lock, os.O_RDWR | os.O_CREAT)) is None:
        with suppress(FileNotFoundError):  # given back meanwhile
            holder = lock.read_text(encoding="utf-8") or "another process"
            raise FolderInUseError(errno.EWOULDBLOCK, f"{holder} is writing it", str(folder))
        tries += 1
        if tries == MOST_TRIES:  # a place, such as /proc, where no file can be made and none says so
            raise FileNotFoundError(errno.ENOENT, "no file can be made there", str(lock))
        _make_folder(folder.parent)  # whoever gave the lock back may have removed the empty folder that it lay in
    try:
        os.ftruncate(descriptor, 0)
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        os.write(descriptor, f"process {os.getpid()} on {os.uname().nodename} since {since}".encode())
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def is_same_file(one: Path | int, other: Path | int) -> bool:
    """Whether two paths, or numbers of open files, mean one file, by whatever name or link; it need not exist yet.

    A device or a pipe is nobody's content, so it is never the same.
    """
    first, second = _identity(one), _identity(other)
    return first is not None and first == second


def is_leftover(path: Path) -> bool:
    """Whether a path bears a name that only writers use: what one left if it was killed, or is writing just now."""
    return path.name.startswith(".") and path.suffix in {PART, OLD, LOCK}


def explain(error: OSError, target: Path, *, needs: int = 0) -> str:
    """What went wrong while `target` was written, and what to do about it; the caller ends the sentence."""
    if isinstance(error, FolderInUseError):
        return f"{target} is in use: {error.strerror}; wait until it has ended"
    if error.errno in NO_ROOM:
        size = f": it needs about {needs / 1e6:.1f} MB" if needs else ""
        return f"no space left for {target} ({error.strerror}){size}; free some"
    return f"{target} can't be written ({error}); check the path and its permissions"


def _identity(place: Path | int) -> tuple[int, int] | str | None:
    """What tells a file or folder from all others; None for what is neither."""
    try:
        found = os.stat(place)  # noqa: PTH116  (of a number, too)
    except OSError:
        return os.path.realpath(place) if isinstance(place, Path) else None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode) else None


def _resolved(path: Path) -> Path:
    """The real path: what a link points at is written, on its own disk, and "." has a name."""
    return Path(os.path.realpath(path))


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that they survive a power cut too."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _flush(folder.parent)


def _make_file(path: Path) -> None:
    path.touch(exist_ok=False)


@contextmanager
def _new_part(target: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """A hidden name beside the target, locked while it is written and gone afterwards; first, leftovers are removed."""
    _remove_leftovers(target.parent)
    descriptor = None
    while descriptor is None:  # until no other writer takes it for a leftover before it is locked
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PART}")
        make(part)
        descriptor = _take(part)
    try:
        yield part
    finally:
        _remove(part)
        os.close(descriptor)


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed writers left; what can't be removed is in nobody's way."""
    for path in [entry for entry in folder.iterdir() if entry.suffix == PART and is_leftover(entry)]:
        with suppress(OSError):
            descriptor = _take(path)
            if descriptor is not None:
                _remove(path)
                os.close(descriptor)


def _take(path: Path, flags: int = os.O_RDONLY) -> int | None:
    """Open and lock a file or folder; None where another has it locked, or removed it before we had it."""
    with ExitStack() as opened, suppress(BlockingIOError, FileNotFoundError):
        descriptor = os.open(path, flags, 0o666)
        opened.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            opened.pop_all()
            return descriptor
    return None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems can't flush a folder; a file must always be.
        if not (path.is_dir() and error.errno == errno.EINVAL):
            raise
    finally:
        os.close(descriptor)


def _flush_tree(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        if not path.is_symlink():
            _flush(path)


def _put_in_place(part: Path, target: Path) -> None:
    """The part becomes the target; where the target exists, the part's name is the old content's afterwards."""
    old = _old(target)
    if not target.exists():
        part.replace(target)
    elif not _swap(part, target):
        target.replace(old)
        try:
            part.replace(target)
        except OSError:
            _recover(target)
            raise
    _flush(target.parent)
    _remove(old)


def _swap(one: Path, other: Path) -> bool:
    """Let two paths change places in one step, so that neither name is ever missing; False where it can't be done."""
    swap = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # Linux; Python has no name for it
    if swap is None:
        return False
    if swap(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in CANNOT_SWAP:
        return False
    raise OSError(number, os.strerror(number), str(other))


def _recover(target: Path) -> None:
    """Put back what was moved aside for a successor that never came."""
    if _old(target).exists() and not target.exists():
        _old(target).replace(target)
    _remove(_old(target))


def _old(target: Path) -> Path:
    return target.with_name(f".{target.name}{OLD}")
