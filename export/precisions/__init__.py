"""The precisions of a bundle, one file each: how to write its graphs, and the policy they must satisfy.

To add one: write its file with a VARIANT and add its entry here. A bundle contains the requested precision only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from stpr.export.precisions.variant import Variant
    from stpr.runtime.contract.manifest import Precision

# Module names, so that the command line can list them without heavy imports.
PRECISIONS: Final[Mapping[Precision, str]] = {
    "fp32": "fp32:VARIANT",
    "fp16": "fp16:VARIANT",
    "int8": "int8:VARIANT",
}


SYMMETRIC: Final[Mapping[Precision, str]] = {"int8": "int8_symmetric:VARIANT"}  # in its place for TensorRT


def variant_of(precision: Precision, *, symmetric: bool = False) -> Variant:
    """Import the variant of a precision; `symmetric`: in a form whose zero points are all 0, which TensorRT needs."""
    name = SYMMETRIC.get(precision, PRECISIONS[precision]) if symmetric else PRECISIONS[precision]
    found: Variant = resolve_name(f"{__name__}.{name}")
    return found
