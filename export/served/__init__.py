"""Write a bundle's graphs in the formats of other servers, one file each.

To add one: write its file and add its entry here. The output is a folder beside the bundle, not part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from stpr.runtime.contract.bundle import Bundle

# Module names, so that the command line can list them without heavy imports. Each writes a bundle's graphs into a
# folder, for a fixed batch or (None) a dynamic one.
FORMS: Final[Mapping[str, str]] = {
    "single-file": "single_file:write",
    "triton": "triton:write",
}


def emit(bundle: Bundle, form: str, batch: int | None = None) -> Path:
    """Write one of FORMS beside the bundle; returns its folder. Raises BundleError if the disk is full."""
    from stpr.runtime.contract.bundle import new_bundle_folder

    write: Callable[[Bundle, Path, int | None], None] = resolve_name(f"{__name__}.{FORMS[form]}")
    target = bundle.path.with_name(f"{bundle.path.name}-{form}")
    # The clip graph contains encoder and head again.
    needs = 2 * sum(entry.bytes for entry in bundle.manifest.files.values())
    with new_bundle_folder(target, needs=needs) as folder:
        write(bundle, folder, batch)
    return target
