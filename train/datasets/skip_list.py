"""The skip list: the only way to leave a listed video out, be it damaged, missing, or both trained and tested on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stpr.runtime.contract.errors import DataError


@dataclass(frozen=True, slots=True)
class SkipList:
    """Videos to leave out: their paths below the folder of the videos, and the line of `file` each stands on."""

    file: Path
    lines: dict[str, int]

    def among(self, videos: Collection[Path], folder: Path, *, learnt: Collection[str] = ()) -> frozenset[Path]:
        """Those of the listed videos below `folder` that are to be left out, whether or not they are there.

        Raises DataError for an entry that is none of them, unless its own folder bears a learnt class's name: videos of
        such a class may be gone from the data set.
        """
        asked, listed = {folder / entry: entry for entry in self.lines}, frozenset(videos)
        for path, entry in asked.items():
            if path not in listed and path.parent.name not in learnt:
                raise DataError(
                    f"{self.file}, line {self.lines[entry]}: {entry!r} is none of the videos"
                    f"{_nearest(entry, folder, listed)}; write its path below {folder} as the data set lists it, or"
                    f" remove the line."
                )
        return listed & asked.keys()


NOTHING: Final = SkipList(Path(), {})


def read_skip_list(file: Path) -> SkipList:
    """One path per line; blank lines and lines that begin with # are left out. DataError for what can't be read."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the skip list {file} can't be read ({error}); put it there, one path in UTF-8 per line, or correct [data]"
            " skip, which is relative to [data] root."
        ) from error
    lines = {entry: number for number, line in enumerate(text.splitlines(), start=1) if (entry := line.strip())}
    return SkipList(file, {entry: number for entry, number in lines.items() if not entry.startswith("#")})


def _nearest(entry: str, folder: Path, listed: Collection[Path]) -> str:
    """A question in brackets if the entry is a video's path from a folder above or below, or at least its name."""
    names = sorted(path.relative_to(folder).as_posix() for path in listed if path.name == Path(entry).name)
    near = [name for name in names if entry.endswith(f"/{name}") or name.endswith(f"/{entry}") or len(names) == 1]
    return f" (did you mean {near[0]!r}?)" if near else ""
