"""The skip list: the only way to leave out a listed video that is damaged, missing, or in both splits."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stpr.runtime.contract.errors import DataError


@dataclass(frozen=True, slots=True)
class SkipList:
    """Videos to leave out: paths below the videos' folder or the working folder, with their line numbers in `file`."""

    file: Path
    lines: dict[str, int]

    def among(self, videos: Collection[Path], folder: Path, *, learnt: Collection[str] = ()) -> frozenset[Path]:
        """Return the videos below `folder` that are on the skip list, whether or not the files exist.

        Raises DataError for an entry that is not one of `videos`, unless its folder has the name of a learnt class,
        whose videos may be gone from the data set.
        """
        listed = frozenset(videos)
        named = {_resolved(entry, folder, listed): entry for entry in self.lines}
        for path, entry in named.items():
            if path not in listed and path.parent.name not in learnt:
                raise DataError(
                    f"{self.file}, line {self.lines[entry]}: {entry!r} is not one of the videos"
                    f"{_nearest(entry, folder, listed)}; write its path below {folder} as the data set lists it, or"
                    f" remove the line."
                )
        return listed & named.keys()


NOTHING: Final = SkipList(Path(), {})


def read_skip_list(file: Path) -> SkipList:
    """Read a skip list: one path per line, blank lines and lines starting with # ignored. Raises DataError."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the skip list {file} can't be read ({error}); create it, one path in UTF-8 per line, or correct [data]"
            " skip, which is relative to [data] root."
        ) from error
    lines = {entry: number for number, line in enumerate(text.splitlines(), start=1) if (entry := line.strip())}
    return SkipList(file, {entry: number for entry, number in lines.items() if not entry.startswith("#")})


def _resolved(entry: str, folder: Path, listed: Collection[Path]) -> Path:
    """The video that an entry names: below `folder`, or by a path as messages show it."""
    here = Path(entry).absolute()
    return here if here in listed else folder / entry


def _nearest(entry: str, folder: Path, listed: Collection[Path]) -> str:
    """A hint in brackets if the entry is a video's path from another folder level, or at least its name; else ""."""
    alike = [path for path in listed if path.name == Path(entry).name]
    names = sorted((path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix() for path in alike)
    near = [name for name in names if entry.endswith(f"/{name}") or name.endswith(f"/{entry}") or len(names) == 1]
    return f" (did you mean {near[0]!r}?)" if near else ""
