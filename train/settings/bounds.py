"""Numbers that a setting may take: bounds that are checked when a recipe is read, before anything is computed."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
CountOrNone: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
Seed: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]  # what numpy's legacy generator takes
Positive: TypeAlias = Annotated[float, msgspec.Meta(gt=0)]
NotNegative: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]
Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]
ShareBelowOne: TypeAlias = Annotated[float, msgspec.Meta(ge=0, lt=1)]
