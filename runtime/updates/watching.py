"""Watch a folder for new bundles and updates that are complete."""

from __future__ import annotations

from collections.abc import Container
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from stpr.runtime.contract.bundle import DELTA, MANIFEST, Bundle
from stpr.runtime.contract.delta import base_of
from stpr.runtime.contract.errors import BundleError
from stpr.runtime.contract.manifest import read_manifest

DEPTH: Final = 2  # DIR/stage-5, or DIR/NAME/stage-5 as stpr-export writes it

Print: TypeAlias = tuple[tuple[str, int, int], ...]  # path, bytes and time of every file


class Found(NamedTuple):
    """A bundle or update in the folder, described by its manifest, not verified yet."""

    path: Path
    digest: str
    name: str
    stage: int
    base: str | None  # of an update: the digest of the bundle that it is for


class Folder:
    """Scans a folder repeatedly. Bundles that are still being copied are skipped until they stop changing."""

    def __init__(self, root: Path) -> None:
        """Raises BundleError if the folder does not exist."""
        if not root.is_dir():
            raise BundleError(f"there is no folder {root} to watch; make it, or name another with --watch.")
        self._root = root
        self._seen: dict[Path, Print] = {}
        self._given: dict[Path, Print] = {}
        self._at_first: frozenset[Path] | None = None

    def newest(self, running: Bundle, refused: Container[str]) -> Path | None:
        """The latest stage that may replace the running bundle and has not been returned before in this state.

        Of the bundles at the first scan only later stages of the same run count; the others were left there on purpose.
        """
        before, self._seen = self._seen, {path: _print_of(path) for path in _places(self._root)}
        if self._at_first is None:
            self._at_first = frozenset(self._seen)
        whole = [path for path, found in self._seen.items() if before.get(path) == found]
        best: tuple[int, Path] | None = None
        for path in whole:
            if self._given.get(path) == self._seen[path]:
                continue
            found, was_there = _read(path), path in self._at_first and path not in self._given
            if not _is_wanted(found, running, refused, was_there=was_there):
                continue
            rank = (0 if found is None else found.stage, path)
            best = rank if best is None else max(best, rank)
        if best is None:
            return None
        self._given[best[1]] = self._seen[best[1]]
        return best[1]

    def all(self) -> list[Found]:
        """All readable bundles and updates in the folder, sorted by name and stage."""
        found = [one for path in _places(self._root) if (one := _read(path)) is not None]
        return sorted(found, key=lambda one: (one.name, one.stage, str(one.path)))


def _is_wanted(found: Found | None, running: Bundle, refused: Container[str], *, was_there: bool) -> bool:
    """Whether to try it; unreadable ones are tried, so that the reason is reported."""
    if found is None:
        return not was_there
    if found.digest == running.digest or found.digest in refused:
        return False
    if found.name != running.manifest.name:
        return not was_there
    if found.stage < running.manifest.stage or found.base not in (None, running.digest):
        return False  # an update of a stage that is not running yet may be used later
    return not was_there or found.stage > running.manifest.stage


def _places(root: Path) -> list[Path]:
    """Folders with a manifest, except hidden ones, which are being written."""
    found = [file.parent for depth in range(DEPTH + 1) for file in root.glob("*/" * depth + MANIFEST)]
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(root).parts)]


def _print_of(path: Path) -> Print:
    """Paths, sizes and times, which change while a folder is being copied."""
    found = []
    for file in sorted(path.rglob("*")):
        with suppress(OSError):  # deleted meanwhile
            about = file.stat()
            found.append((str(file.relative_to(path)), about.st_size, about.st_mtime_ns))
    return tuple(found)


def _read(path: Path) -> Found | None:
    """Read a folder's manifest; None if it can't be read."""
    with suppress(OSError, BundleError):
        sealed = read_manifest((path / MANIFEST).read_bytes(), str(path / MANIFEST))
        base = base_of(path) if (path / DELTA).is_file() else None
        return Found(path, sealed.digest, sealed.manifest.name, sealed.manifest.stage, base)
    return None
