"""The precisions of a bundle, one file for each: how its graphs are written, and what they must hold to.

To add one: its file with a VARIANT, and its entry here. A bundle holds the one that it was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from stpr.export.precisions.variant import Variant
    from stpr.runtime.contract.manifest import Precision

# By name, so that the command line can list them without importing what they need.
PRECISIONS: Final[Mapping[Precision, str]] = {
    "fp32": "fp32:VARIANT",
    "fp16": "fp16:VARIANT",
    "int8": "int8:VARIANT",
}


def variant_of(precision: Precision) -> Variant:
    """How graphs are written in one of PRECISIONS."""
    found: Variant = resolve_name(f"{__name__}.{PRECISIONS[precision]}")
    return found
