"""The choices of `stpr-export`'s options, without heavy imports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stpr.export import CLIPS
from stpr.export.precisions import PRECISIONS
from stpr.export.served import FORMS
from stpr.export.targets import TARGETS

if TYPE_CHECKING:
    from stpr.runtime.contract.manifest import Precision

__all__ = ["CLIPS", "FORMS", "PRECISIONS", "TARGETS", "precision_for"]


def precision_for(target: str | None, chosen: Precision | None) -> Precision:
    """The requested precision, else the target's, else fp32."""
    return chosen or (TARGETS[target].precision if target else "fp32")
