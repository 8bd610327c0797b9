"""Value ranges of settings, checked when a recipe is read, before anything is computed."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec

LARGEST: Final = 1e30  # float32 ends at 3e38; leaves room for values computed from a setting
MOST: Final = 10**9

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
CountOrNone: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Seed: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]  # the range of numpy's legacy generator
Number: TypeAlias = Annotated[float, msgspec.Meta(ge=-LARGEST, le=LARGEST)]
Positive: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=LARGEST)]
NotNegative: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=LARGEST)]
Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]
ShareBelowOne: TypeAlias = Annotated[float, msgspec.Meta(ge=0, lt=1)]

LONGEST_NAME: Final = 200  # bytes; file systems allow 255, and we append suffixes


def check_folder_name(name: str) -> None:
    """Raise ValueError unless a name is a valid folder name, which can't lead to another place such as ".."."""
    odd = not name.isprintable() or "/" in name or name != name.strip() or name[:1] in ("", ".", "-")
    if odd or len(name.encode()) > LONGEST_NAME:
        raise ValueError(
            f"name: must be a folder's name (printable, no /, not starting with . or -, no space at either end, at"
            f" most {LONGEST_NAME} bytes), not {name!r}; a folder of videos gets another one by --set name=NAME --out"
            " runs/NAME"
        )
