"""A bundle's graphs in the forms that others serve, one file for each; none of them is a bundle.

To add one: its file, and its entry here. What is written lies beside the bundle and is no part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from stpr.runtime.contract.bundle import Bundle

# By name, so that the command line can list them without importing what they need. Each writes a bundle's graphs into a
# folder, for a fixed batch or (None) any.
FORMS: Final[Mapping[str, str]] = {
    "single-file": "single_file:write",
    "triton": "triton:write",
}


def emit(bundle: Bundle, form: str, batch: int | None = None) -> Path:
    """Write one of FORMS beside the bundle; returns its folder. Raises BundleError where there is no room."""
    from stpr.runtime.contract.bundle import new_bundle_folder

    write: Callable[[Bundle, Path, int | None], None] = resolve_name(f"{__name__}.{FORMS[form]}")
    target = bundle.path.with_name(f"{bundle.path.name}-{form}")
    # Encoder and head are in the clip graph once more.
    needs = 2 * sum(entry.bytes for entry in bundle.manifest.files.values())
    with new_bundle_folder(target, needs=needs) as folder:
        write(bundle, folder, batch)
    return target
