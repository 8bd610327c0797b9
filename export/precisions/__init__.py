"""The precisions of a bundle, one file for each: how its graphs are written, and what they must hold to.

To add one: its file, and here its import and its entry. A bundle holds the one that it was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from stpr.export.precisions import fp16, fp32, int8
from stpr.export.precisions.variant import Variant
from stpr.runtime.contract.manifest import Precision

PRECISIONS: Final[Mapping[Precision, Variant]] = {
    "fp32": fp32.VARIANT,
    "fp16": fp16.VARIANT,
    "int8": int8.VARIANT,
}
