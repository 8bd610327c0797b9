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


def variant_of(precision: Precision) -> Variant:
    """Import the variant of a precision."""
    found: Variant = resolve_name(f"{__name__}.{PRECISIONS[precision]}")
    return found
