"""A stage update: the files that an older bundle lacks. Applied to that bundle it gives the new one, byte for byte.

A delta is a folder like a bundle, with the new bundle's manifest (and signature, if it has one), those of its files
whose content the old bundle does not hold, and `delta.json`, which says what it must be applied to. Files are found by
digest, whatever they are called.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import msgspec

from stpr.runtime.contract.bundle import (
    DELTA,
    MANIFEST,
    SIGNATURE,
    Bundle,
    check_file,
    new_bundle_folder,
    open_bundle,
    place_of,
)
from stpr.runtime.contract.durable import write_file
from stpr.runtime.contract.errors import BundleError
from stpr.runtime.contract.manifest import SealedManifest, read_manifest

SCHEMA: Final = 1


class Delta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a delta says of itself. Digests are those that bundles are known by (`Bundle.digest`)."""

    schema: int
    name: str  # of the bundles
    base: str  # digest of the bundle that it must be applied to
    base_stage: int
    target: str  # digest of the bundle that it gives
    target_stage: int
    files: tuple[str, ...]  # those that it brings, beside the manifest


def write_delta(base: Bundle, bundle: Bundle, folder: Path) -> Path:
    """Write what `bundle` has and `base` lacks to `folder`, whole or not at all; returns it. Raises BundleError."""
    held = {entry.sha256 for entry in base.manifest.files.values()}
    brought = {name: entry for name, entry in bundle.manifest.files.items() if entry.sha256 not in held}
    delta = Delta(
        schema=SCHEMA,
        name=bundle.manifest.name,
        base=base.digest,
        base_stage=base.manifest.stage,
        target=bundle.digest,
        target_stage=bundle.manifest.stage,
        files=tuple(brought),
    )
    with new_bundle_folder(folder, needs=sum(entry.bytes for entry in brought.values())) as part:
        for name in (MANIFEST, *brought):
            _copy(bundle.path / name, part / name)
        _copy_signature(bundle.path, part)
        write_file(part / DELTA, msgspec.json.format(msgspec.json.encode(delta), indent=1) + b"\n")
    return folder


def apply_delta(base: Bundle, folder: Path, target: Path) -> Bundle:
    """Make the bundle that the delta in `folder` leads to, at `target`; `base` stays as it is.

    A bundle that is already at `target` and is that very one is left alone. Raises BundleError for another base, a
    damaged delta and another bundle at `target`; nothing is put in place before every digest holds.
    """
    delta, sealed = _read(folder)
    if base.digest != delta.base:
        raise BundleError(
            f"{folder} updates {delta.name} stage {delta.base_stage} ({delta.base[:12]}…), and {base.path} is"
            f" {base.manifest.name} stage {base.manifest.stage} ({base.digest[:12]}…); name the bundle that it was made"
            " for, or copy the whole new one."
        )
    if target.exists():
        return _already(target, delta)
    files = sealed.manifest.files
    for name in delta.files:
        check_file(folder, name, files[name])
    sources = {entry.sha256: base.path / name for name, entry in base.manifest.files.items()}
    sources |= {files[name].sha256: folder / name for name in delta.files}
    if lacking := [name for name, entry in files.items() if entry.sha256 not in sources]:
        raise BundleError(
            f"{folder} lacks {lacking[0]}, which {base.path} does not hold either; copy the update again."
        )
    with new_bundle_folder(target, needs=sum(entry.bytes for entry in files.values())) as part:
        for name, entry in files.items():
            _copy(sources[entry.sha256], place_of(part, name))
        _copy(folder / MANIFEST, part / MANIFEST)
        _copy_signature(folder, part)
        open_bundle(part)
    return open_bundle(target)


def bytes_of(folder: Path) -> int:
    """How many bytes a delta has to ship."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def stage_of(folder: Path) -> int:
    """The stage that a delta leads to. Raises BundleError for what is none."""
    return _read(folder)[0].target_stage


def base_of(folder: Path) -> str:
    """The digest of the bundle that a delta must be applied to. Raises BundleError for what is none."""
    return _read(folder)[0].base


def _read(folder: Path) -> tuple[Delta, SealedManifest]:
    file, again = folder / DELTA, "copy the update again"
    if not file.is_file():
        raise BundleError(
            f"{folder} is no update: it has no {DELTA}. Make one with `stpr-export --stage N --since BUNDLE`."
        )
    try:
        delta = msgspec.json.decode(file.read_bytes(), type=Delta)
        sealed = read_manifest((folder / MANIFEST).read_bytes(), str(folder / MANIFEST))
    except (OSError, msgspec.DecodeError) as error:
        raise BundleError(f"{file} is damaged or incomplete ({error}); {again}.") from error
    if delta.schema != SCHEMA:
        raise BundleError(f"{file} has schema {delta.schema}; this runtime reads {SCHEMA}. Upgrade stpr here.")
    if sealed.digest != delta.target or not sealed.manifest.files.keys() >= set(delta.files):
        raise BundleError(f"{file} and the {MANIFEST} beside it don't belong together; {again}.")
    return delta, sealed


def _already(target: Path, delta: Delta) -> Bundle:
    there = open_bundle(target)
    if there.digest != delta.target:
        raise BundleError(
            f"{target} holds another bundle, {there.manifest.name} stage {there.manifest.stage} ({there.digest[:12]}…);"
            " choose another folder with --out, or move it away."
        )
    return there


def _copy(source: Path, target: Path) -> None:
    """Content alone, never a link: a bundle must not change when another is removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _copy_signature(source: Path, target: Path) -> None:
    """A bundle's signature goes where its manifest goes."""
    if (source / SIGNATURE).is_file():
        _copy(source / SIGNATURE, target / SIGNATURE)
