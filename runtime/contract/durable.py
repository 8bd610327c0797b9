"""Write files and folders atomically and durably.

Everything is written under a hidden name in the same folder, flushed to the disk (fsync), renamed, and the folder's
entry is flushed too: after a crash, a kill or a power cut there is the old content or the new one. A writer keeps its
hidden file or folder locked (flock), which distinguishes leftovers of killed writers from files being written; the next
write into the same folder removes leftovers.

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

PART: Final = ".stpr-part"  # suffix while being written, or replaced and about to be removed
OLD: Final = ".stpr-old"  # suffix of a folder moved aside, if two folders can't be swapped in one step
LOCK: Final = ".stpr-lock"
MOST_TRIES: Final = 100  # attempts to create a lock file that other processes keep removing
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
CANNOT_SWAP: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})
AT_FDCWD: Final = -100
RENAME_EXCHANGE: Final = 2


class FolderInUseError(OSError):
    """Another process is writing this folder."""


def write_file(target: Path, data: bytes) -> Path:
    """Write a file atomically, creating missing folders; returns its path."""
    with whole_file(target) as part:
        part.write_bytes(data)
    return target


def write_new_file(target: Path, data: bytes) -> Path:
    """Write a file atomically that must not exist yet: raises FileExistsError, also if another process is faster."""
    target = _resolved(target)
    _make_folder(target.parent)
    with _new_part(target, _make_file) as part:
        part.write_bytes(data)
        _flush(part)
        target.touch(exist_ok=False)  # claims the name; not every file system has hard links for one step
        part.replace(target)
        _flush(target.parent)
    return target


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A hidden file beside `target` to write to, which replaces it when the block ends without an error."""
    target = _resolved(target)
    _make_folder(target.parent)
    with _new_part(target, _make_file) as part:
        yield part
        _flush(part)
        part.replace(target)
        _flush(target.parent)


@contextmanager
def whole_folder(target: Path, *, needs: int = 0) -> Iterator[Path]:
    """A hidden folder beside `target` to write into, which replaces it when the block ends without an error.

    An existing folder at `target` stays until then, and is replaced completely. `needs`: approximate bytes that will
    be written; too little free space is an error before the work starts.
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
    """Lock a folder, which need not exist yet, against other processes and threads, by a hidden lock file beside it.

    Raises FolderInUseError naming the process that holds the lock and since when. A killed process releases its lock.
    """
    folder = _resolved(folder)
    lock = folder.with_name(f".{folder.name}{LOCK}")
    _make_folder(folder.parent)
    tries = 0
    while (descriptor := _take(lock, os.O_RDWR | os.O_CREAT)) is None:
        with suppress(FileNotFoundError):  # released meanwhile
            holder = lock.read_text(encoding="utf-8") or "another process"
            raise FolderInUseError(errno.EWOULDBLOCK, f"{holder} is writing it", str(folder))
        tries += 1
        if tries == MOST_TRIES:  # a folder such as /proc, where creating files fails without an error
            raise FileNotFoundError(errno.ENOENT, "no file can be made there", str(lock))
        _make_folder(folder.parent)  # the last holder may have removed the empty folder
    try:
        os.ftruncate(descriptor, 0)
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        os.write(descriptor, f"process {os.getpid()} on {os.uname().nodename} since {since}".encode())
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def is_same_file(one: Path | int, other: Path | int) -> bool:
    """Whether two paths or file descriptors refer to the same file, also through links; it need not exist yet.

    False for devices and pipes.
    """
    first, second = _identity(one), _identity(other)
    return first is not None and first == second


def is_leftover(path: Path) -> bool:
    """Whether a path is a temporary name of a writer, which was killed or is still writing."""
    return path.name.startswith(".") and path.suffix in {PART, OLD, LOCK}


def explain(error: OSError, target: Path, *, needs: int = 0) -> str:
    """A message on an error in writing `target` and its fix; the caller ends the sentence."""
    if isinstance(error, FolderInUseError):
        return f"{target} is in use: {error.strerror}; wait until it has ended"
    if error.errno in NO_ROOM:
        size = f": it needs about {needs / 1e6:.1f} MB" if needs else ""
        return f"no space left for {target} ({error.strerror}){size}; free some"
    return f"{target} can't be written ({error}); check the path and its permissions"


def _identity(place: Path | int) -> tuple[int, int] | str | None:
    """The identity of a file or folder; None for anything else."""
    try:
        found = os.stat(place)  # noqa: PTH116  (of a number, too)
    except OSError:
        return os.path.realpath(place) if isinstance(place, Path) else None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode) else None


def _resolved(path: Path) -> Path:
    """The real path, so that a link's target is written, on its own disk, and "." has a name."""
    return Path(os.path.realpath(path))


def _make_folder(folder: Path) -> None:
    """Create a folder and its parents durably."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _flush(folder.parent)


def _make_file(path: Path) -> None:
    path.touch(exist_ok=False)


@contextmanager
def _new_part(target: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """A hidden path beside the target, locked while it is written and removed afterwards; removes leftovers first."""
    _remove_leftovers(target.parent)
    descriptor = None
    while descriptor is None:  # retry if another writer removed it as a leftover before it was locked
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PART}")
        make(part)
        descriptor = _take(part)
    try:
        yield part
    finally:
        _remove(part)
        os.close(descriptor)


def _remove_leftovers(folder: Path) -> None:
    """Remove leftovers of killed writers, ignoring errors."""
    for path in [entry for entry in folder.iterdir() if entry.suffix == PART and is_leftover(entry)]:
        with suppress(OSError):
            descriptor = _take(path)
            if descriptor is not None:
                _remove(path)
                os.close(descriptor)


def _take(path: Path, flags: int = os.O_RDONLY) -> int | None:
    """Open and lock a file or folder; None if another process holds the lock, or removed it first."""
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
        # Some network file systems can't flush folders; flushing a file must not fail.
        if not (path.is_dir() and error.errno == errno.EINVAL):
            raise
    finally:
        os.close(descriptor)


def _flush_tree(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        if not path.is_symlink():
            _flush(path)


def _put_in_place(part: Path, target: Path) -> None:
    """Move the part to the target; if the target exists, they are swapped, so the part then has the old content."""
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
    """Swap two paths in one step, so that neither name is ever missing; False if not supported."""
    swap = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # Linux only; not in Python's library
    if swap is None:
        return False
    if swap(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in CANNOT_SWAP:
        return False
    raise OSError(number, os.strerror(number), str(other))


def _recover(target: Path) -> None:
    """Restore a folder that was moved aside, if its replacement was never put in place."""
    if _old(target).exists() and not target.exists():
        _old(target).replace(target)
    _remove(_old(target))


def _old(target: Path) -> Path:
    return target.with_name(f".{target.name}{OLD}")
