"""Read the annotation files that a benchmark's authors distribute.

stpr does not include these files; `hint`, part of each error, says which file to put where.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from stpr.runtime.contract.errors import DataError
from stpr.train.datasets.annotations import some

Decoded = TypeVar("Decoded")
SplitNumber: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=3)]  # UCF101 and HMDB51 have three official splits


class Form(NamedTuple):
    """The format of the lines of a list: a pattern, and a description for errors."""

    pattern: str
    shown: str  # description for errors


NAMED_ID: Final = Form(r"(\d+) (.+)", "ID NAME")


def read_lines(file: Path, form: Form, hint: str) -> list[tuple[str, ...]]:
    """Parse each non-blank line; returns the groups of the pattern."""
    rows: list[tuple[str, ...]] = []
    for number, line in enumerate(read_text(file, hint).splitlines(), start=1):
        if not line.strip():
            continue
        parted = re.fullmatch(form.pattern, line.rstrip())
        if parted is None:
            raise DataError(f"{file}, line {number}: {line!r} is not {form.shown}; {hint}.")
        rows.append(tuple(map(str, parted.groups())))
    return rows


def read_text(file: Path, hint: str) -> str:
    """Read a list in UTF-8, with or without a byte order mark."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{file} is missing: {hint}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} can't be read ({error}): {hint}.") from error


def read_json(file: Path, kind: type[Decoded], hint: str) -> Decoded:
    """Read a list in JSON; numbers may be strings of digits."""
    try:
        return msgspec.json.decode(read_text(file, hint), type=kind, strict=False)
    except msgspec.DecodeError as error:
        raise DataError(f"{file} does not have the expected content ({error}): {hint}.") from error


def by_id(names: Mapping[int, str], first: int, where: Path) -> tuple[str, ...]:
    """Sort names by their ids, which must be consecutive from `first`."""
    if sorted(names) != list(range(first, first + len(names))):
        raise DataError(f"the label ids of {where} are not {first} to {first + len(names) - 1} without gaps; fix them.")
    return tuple(names[number] for number in sorted(names))


def check_class(name: str, known: Collection[str], file: Path) -> None:
    """Raise DataError for a class that is not in the list of classes."""
    if name not in known:
        raise DataError(f"{file} names the class {name!r}, which is not in the list of classes: {some(sorted(known))}.")
