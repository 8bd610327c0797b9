"""Reading the list files that the authors of a benchmark hand out.

They belong to their authors and don't come with stpr; `hint`, in each error, says what belongs where.
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
    """What each line of a list must be."""

    pattern: str
    shown: str  # for errors


NAMED_ID: Final = Form(r"(\d+) (.+)", "ID NAME")


def read_lines(file: Path, form: Form, hint: str) -> list[tuple[str, ...]]:
    """The groups of the form's pattern, of each line that is not blank."""
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
    """The text of a list in UTF-8, with or without a byte order mark."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{file} is missing: {hint}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} can't be read ({error}): {hint}.") from error


def read_json(file: Path, kind: type[Decoded], hint: str) -> Decoded:
    """A list in JSON; strings of digits may stand for numbers."""
    try:
        return msgspec.json.decode(read_text(file, hint), type=kind, strict=False)
    except msgspec.DecodeError as error:
        raise DataError(f"{file} is not what was expected ({error}): {hint}.") from error


def by_id(names: Mapping[int, str], first: int, where: Path) -> tuple[str, ...]:
    """The names in the order of their ids, which must count up from `first` without a gap."""
    if sorted(names) != list(range(first, first + len(names))):
        raise DataError(f"the label ids of {where} don't count up from {first} to {first + len(names) - 1}; mend them.")
    return tuple(names[number] for number in sorted(names))


def check_class(name: str, known: Collection[str], file: Path) -> None:
    """Raise DataError for a class that the list of classes lacks."""
    if name not in known:
        raise DataError(f"{file} names the class {name!r}, which the list of classes lacks: {some(sorted(known))}.")
