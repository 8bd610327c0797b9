"""Check that outputs don't overwrite the source or each other."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import combinations, product
from pathlib import Path

from stpr.runtime.contract.durable import is_same_file
from stpr.runtime.contract.errors import StprError
from stpr.runtime.contract.names import local_path
from stpr.runtime.settings import Settings


def check_targets(settings: Settings) -> None:
    """Raise StprError if an output is the source or another output, also through links."""
    check_apart(_targets(settings), {f"the source {source}": local_path(source) for source in settings.sources})
    if settings.keep is not None:
        _check_keep(settings)


def check_apart(targets: Mapping[str, Path | int], inputs: Mapping[str, Path]) -> None:
    """Raise StprError if an output is an input or another output; keys are their names in messages."""
    for (name, target), (given, path) in product(targets.items(), inputs.items()):
        if is_same_file(target, path):
            raise StprError(f"{name} is {given}, which would be destroyed; name another file.")
    for (one, first), (other, second) in combinations(targets.items(), 2):
        if is_same_file(first, second):
            raise StprError(f"{one} and {other} are the same file; name two.")


def is_folder(target: Path) -> bool:
    """Whether a destination of videos is a folder: an existing one, or a path without a suffix."""
    return target.is_dir() or not target.suffix


def _targets(settings: Settings) -> dict[str, Path | int]:
    """All outputs by their names in messages: paths, or file descriptors."""
    targets: dict[str, Path | int] = {}
    if settings.json not in (None, "-"):
        targets[f"--json {settings.json}"] = Path(settings.json)
    if settings.record is not None:
        targets[f"--record {settings.record}"] = settings.record
    if settings.clips is not None:
        targets[f"--clips {settings.clips}"] = settings.clips
    if sys.stdout is not None:
        targets["standard output"] = sys.stdout.fileno()
    return targets


def _check_keep(settings: Settings) -> None:
    folders = [target for target in (settings.record, settings.clips) if target is not None and is_folder(target)]
    if not folders:
        raise StprError(f"--keep {settings.keep} goes with --record DIR or --clips DIR; name a folder.")
    for folder, source in product(folders, settings.sources):
        if is_same_file(folder, local_path(source).parent):
            raise StprError(f"{source} is in {folder}, where --keep may delete videos; name another folder.")
