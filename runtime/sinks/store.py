"""A folder of recorded videos, named by time, with limits by `--keep` and by free disk space.

Nothing is ever overwritten, and without `--keep` nothing is deleted: if the disk is nearly full, recording pauses until
there is space.
"""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from stpr.runtime.contract.errors import StprError
from stpr.runtime.contract.names import shown
from stpr.runtime.settings import Settings
from stpr.runtime.sinks.sink import MissedError

OURS: Final = re.compile(r"\d{8}T\d{6}Z[-_].*\.mp4")  # only files with such names are ever deleted
UNITS: Final = {"MB": 1e6, "GB": 1e9, "TB": 1e12, "h": 3600.0, "d": 86400.0}
LEAST, MOST, SHARE = 2e6, 256e6, 0.01  # bytes of the disk to leave free: a share of it within these bounds
LOOK_SECONDS: Final = 1.0  # between two checks of the disk


@dataclass(frozen=True, slots=True)
class Keep:
    """Limits of size and age; None: no limit."""

    megabytes: float | None = None
    seconds: float | None = None


def parse_keep(text: str | None) -> Keep:
    """Parse `--keep`: `20GB`, `7d`, or both with a comma. Raises StprError for anything else."""
    found: dict[str, float] = {}
    for part in (text or "").split(",") if text is not None else ():
        match = re.fullmatch(r"(\d+(?:\.\d+)?) *(MB|GB|TB|h|d)", part.strip())
        kind = "seconds" if match and match[2] in {"h", "d"} else "megabytes"
        if match is None or kind in found or not float(match[1]):
            raise StprError(f"--keep {text} is not a size, an age or both; write 20GB, 7d (or h) or 20GB,7d.")
        found[kind] = float(match[1]) * UNITS[match[2]] / (1.0 if kind == "seconds" else 1e6)
    return Keep(**found)


class Store:
    """A folder of videos, shared by all runs that record into it."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Creates the folder. Raises StprError if that fails, or for an invalid `--keep`."""
        self._folder, self._keep = folder, parse_keep(settings.keep)
        self._looked_at, self._room = float("-inf"), True
        self._newest: dict[str, Path] = {}  # by source; may still be being written
        try:
            folder.mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass  # it can be written, now and not when the first event comes
        except OSError as error:
            if error.errno != errno.ENOSPC:  # which may change
                raise StprError(f"can't record to {shown(folder)} ({error.strerror}); choose another place.") from error

    def new(self, name: str) -> Path:
        """Create an empty file for a video that begins now, named after the source. Raises MissedError if full."""
        self._newest.pop(name, None)
        self._prune()
        stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        number = 0
        while True:
            number += 1
            path = self._folder / f"{stamp}{f'-{number}' if number > 1 else ''}_{plain(name)}.mp4"
            try:
                path.touch(exist_ok=False)
            except FileExistsError:
                continue
            except OSError as error:
                raise MissedError(f"can't record to {shown(path)} ({error.strerror}); check the disk.") from error
            self._newest[name] = path
            return path

    def check_room(self) -> None:
        """Raise MissedError if the disk is nearly full and `--keep` does not allow deleting anything.

        A folder that was deleted is created again.
        """
        now = time.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            try:
                self._folder.mkdir(exist_ok=True)
            except OSError as error:
                raise MissedError(
                    f"can't record to {shown(self._folder)} ({error.strerror}); create it again."
                ) from error
            if not has_room(self._folder):
                self._prune()
            self._looked_at, self._room = now, has_room(self._folder)
        if not self._room:
            raise MissedError(f"the disk of {shown(self._folder)} is nearly full; free space, and recording continues.")

    def _prune(self) -> None:
        """Delete our oldest videos beyond the limits; with `--keep`, also to free disk space."""
        if self._keep == Keep():
            return
        videos = []
        for path in self._folder.iterdir():
            with suppress(OSError):  # deleted meanwhile
                if OURS.fullmatch(path.name) and not path.is_symlink():
                    found = path.stat()
                    videos.append((found.st_mtime_ns, path, found))
        total, now = sum(found.st_size for *_, found in videos), time.time()
        being_written = set(self._newest.values())
        for _, path, found in sorted(videos):
            if path in being_written:
                continue
            too_old = self._keep.seconds is not None and found.st_mtime < now - self._keep.seconds
            too_much = self._keep.megabytes is not None and total > self._keep.megabytes * 1e6
            if too_old or too_much or not has_room(self._folder):
                with suppress(OSError):
                    path.unlink()
                    total -= found.st_size


def has_room(folder: Path) -> bool:
    """Whether a disk has more free space than must be left."""
    try:
        disk = shutil.disk_usage(folder)
    except OSError:
        return False
    return disk.free > min(MOST, max(LEAST, SHARE * disk.total))


def plain(name: str) -> str:
    """A name that is safe in file names and topics: letters, digits and dots stay, the rest becomes dashes."""
    return re.sub(r"[^\w.]+", "-", shown(name)).strip("-.")[:60] or "video"
