"""What a setting may be: bounds that are checked when a recipe is read, before anything is computed."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec

LARGEST: Final = 1e30  # float32 ends at 3e38, and what is computed of a setting must not go beyond
MOST: Final = 10**9

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
CountOrNone: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Seed: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]  # what numpy's legacy generator takes
Number: TypeAlias = Annotated[float, msgspec.Meta(ge=-LARGEST, le=LARGEST)]
Positive: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=LARGEST)]
NotNegative: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=LARGEST)]
Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]
ShareBelowOne: TypeAlias = Annotated[float, msgspec.Meta(ge=0, lt=1)]

LONGEST_NAME: Final = 200  # bytes; a file system allows 255, and our own additions need some


def check_folder_name(name: str) -> None:
    """Raise ValueError unless a name can be that of a folder: the one made for it then lies nowhere else."""
    odd = not name.isprintable() or "/" in name or name != name.strip() or name[:1] in ("", ".", "-")
    if odd or len(name.encode()) > LONGEST_NAME:
        raise ValueError(
            f"name: must be a folder's name (printable, without /, not beginning with . or -, no blank at its ends, at"
            f" most {LONGEST_NAME} bytes), not {name!r}"
        )
