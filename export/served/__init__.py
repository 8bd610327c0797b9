"""A bundle's graphs in the forms that others serve, one file for each; none of them is a bundle.

To add one: its file, and here its import and its entry. What is written lies beside the bundle and is no part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from stpr.export.served import single_file, triton
from stpr.runtime.contract.bundle import Bundle, new_bundle_folder

# Each writes a bundle's graphs into a folder, for a fixed batch or (None) any.
FORMS: Final[Mapping[str, Callable[[Bundle, Path, int | None], None]]] = {
    "single-file": single_file.write,
    "triton": triton.write,
}


def emit(bundle: Bundle, form: str, batch: int | None = None) -> Path:
    """Write one of FORMS beside the bundle; returns its folder. Raises BundleError where there is no room."""
    target = bundle.path.with_name(f"{bundle.path.name}-{form}")
    # Encoder and head are in the clip graph once more.
    needs = 2 * sum(entry.bytes for entry in bundle.manifest.files.values())
    with new_bundle_folder(target, needs=needs) as folder:
        FORMS[form](bundle, folder, batch)
    return target
