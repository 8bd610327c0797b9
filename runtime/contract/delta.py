"""Stage updates (deltas): the files that an older bundle lacks. Applied to it they give the new one, byte for byte.

A delta is a folder like a bundle, with the new bundle's manifest (and signature, if it has one), those of its files
whose content the old bundle does not hold, compressed, and `delta.json`, which says what it must be applied to. Files
are found by digest, whatever they are called. Of one that has parts in common with the old bundle's file of that name,
such as the golden clip's pixels and most nodes of the graphs, only the rest is brought. Weights are brought as planes:
the first byte of every number, then the second, … for signs and exponents are much alike and compress well beside one
another, and never else.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np

from stpr.runtime.contract.bundle import (
    DELTA,
    MANIFEST,
    SIGNATURE,
    Bundle,
    folder_name,
    new_bundle_folder,
    open_bundle,
    place_of,
)
from stpr.runtime.contract.durable import write_file
from stpr.runtime.contract.errors import BundleError
from stpr.runtime.contract.manifest import FileEntry, Precision, SealedManifest, read_manifest
from stpr.runtime.contract.matching import PIECE, Copy, copies

SCHEMA: Final = 4  # 1 brought its files as they are, 2 knew no planes, 3 copied only what a file begins with
PACKED: Final = ".gz"
WIDTH: Final = 4  # bytes of a number in planes; float16 has two in each


class Delta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of `delta.json`. Digests are those of bundles (`Bundle.digest`)."""

    schema: int
    name: str  # of the bundles
    base: str  # digest of the bundle to apply it to
    base_stage: int
    target: str  # digest of the resulting bundle
    target_stage: int
    files: tuple[str, ...]  # the files in it, besides the manifest
    kept: dict[str, int] = {}  # up to schema 3: file -> how many bytes it begins with as the base's of that name
    copies: dict[str, tuple[Copy, ...]] = {}  # file -> its parts that the base's file of that name holds
    planes: dict[str, Literal[4]] = {}  # file -> byte width of its numbers, for files stored as byte planes

    def copied(self, name: str) -> tuple[Copy, ...]:
        """The parts of a file that the base's file of that name holds."""
        return self.copies.get(name) or ((Copy(0, 0, kept),) if (kept := self.kept.get(name, 0)) else ())


class _Schema(msgspec.Struct, frozen=True):
    """Only the schema, which is read first, since newer deltas have other fields."""

    schema: int


def check_base(base: Bundle, name: str, stage: int, precision: Precision) -> None:
    """Raise BundleError unless an update from `base` to such a bundle is possible."""
    has = base.manifest
    if (has.name, has.precision) != (name, precision) or has.stage > stage:
        raise BundleError(
            f"{base.path} is {has.name} stage {has.stage} in {has.precision}, which can't be updated to {name}"
            f" stage {stage} in {precision}: name an earlier bundle of the same run and precision with --since, or ship"
            " the whole new one."
        )


def write_delta(base: Bundle, bundle: Bundle, folder: Path) -> Path:
    """Write the files of `bundle` that `base` lacks to `folder`, atomically; returns it. Raises BundleError."""
    new = bundle.manifest
    check_base(base, new.name, new.stage, new.precision)
    held = {entry.sha256 for entry in base.manifest.files.values()}
    brought = {name: entry for name, entry in bundle.manifest.files.items() if entry.sha256 not in held}
    same = {name: copies(base.path / name, bundle.path / name) for name in brought if name in base.manifest.files}
    rest = {name: _rest(bundle.path / name, same.get(name, ())) for name in brought}
    delta = Delta(
        schema=SCHEMA,
        name=bundle.manifest.name,
        base=base.digest,
        base_stage=base.manifest.stage,
        target=bundle.digest,
        target_stage=bundle.manifest.stage,
        files=tuple(brought),
        copies={name: found for name, found in same.items() if found},
        planes={name: WIDTH for name, content in rest.items() if _is_smaller_in_planes(content[:PIECE])},
    )
    with new_bundle_folder(folder, needs=sum(entry.bytes for entry in brought.values())) as part:
        _copy(bundle.path / MANIFEST, part / MANIFEST)
        for name, content in rest.items():
            _pack(content, part / f"{name}{PACKED}", delta.planes.get(name, 1))
        _copy_signature(bundle.path, part)
        write_file(part / DELTA, msgspec.json.encode(delta) + b"\n")
    return folder


def apply_delta(base: Bundle, folder: Path, target: Path) -> Bundle:
    """Apply the delta in `folder` to `base`, writing the new bundle to `target`; `base` is not changed.

    If the same bundle is already at `target`, nothing is done. Raises BundleError for another base, a damaged delta,
    and another bundle at `target`; nothing is put in place before every digest is verified.
    """
    delta, sealed = _read(folder)
    if base.digest != delta.base:
        raise BundleError(
            f"{folder} updates {delta.name} stage {delta.base_stage} in {sealed.manifest.precision}"
            f" ({delta.base[:12]}…), and {base.path} is {base.manifest.name} stage {base.manifest.stage} in"
            f" {base.manifest.precision} ({base.digest[:12]}…); name the bundle that it was made for, or copy the whole"
            " new one."
        )
    if target.exists():
        return _already(target, delta)
    files = sealed.manifest.files
    held = {entry.sha256: base.path / name for name, entry in base.manifest.files.items()}
    there = held.keys() | {files[name].sha256 for name in delta.files}
    if lacking := [name for name, entry in files.items() if entry.sha256 not in there]:
        raise BundleError(
            f"{folder} lacks {lacking[0]}, which {base.path} does not hold either; copy the update again."
        )
    with new_bundle_folder(target, needs=sum(entry.bytes for entry in files.values())) as part:
        for name in delta.files:
            source = place_of(folder, name if delta.schema == 1 else f"{name}{PACKED}")
            content = _content(source, delta.planes.get(name, 1))
            whole = _joined(place_of(base.path, name), delta.copied(name), content)
            _bring(source, whole, place_of(part, name), files[name])
        held |= {files[name].sha256: part / name for name in delta.files}
        for name in files.keys() - set(delta.files):
            _copy(held[files[name].sha256], place_of(part, name))
        _copy(folder / MANIFEST, part / MANIFEST)
        _copy_signature(folder, part)
        open_bundle(part)
    return open_bundle(target)


def bytes_of(folder: Path) -> int:
    """Total bytes of a delta."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def packed_bytes(content: bytes) -> int:
    """How many bytes numbers take in a delta."""
    return min(len(b"".join(_packed([content], width))) for width in (1, WIDTH))


def target_of(base: Path, folder: Path) -> Path:
    """The path for the new bundle: beside `base`, named by its stage. Raises BundleError if `folder` is not a delta."""
    made = _read(folder)[1].manifest
    return base.resolve().parent / folder_name(made.stage, made.precision)


def base_of(folder: Path) -> str:
    """The digest of the bundle that a delta applies to. Raises BundleError if `folder` is not a delta."""
    return _read(folder)[0].base


def _read(folder: Path) -> tuple[Delta, SealedManifest]:
    file, again = folder / DELTA, "copy the update again"
    if not file.is_file():
        raise BundleError(
            f"{folder} is not an update: it has no {DELTA}. Make one with `stpr-export --stage N --since BUNDLE`."
        )
    try:
        raw = file.read_bytes()
        schema = msgspec.json.decode(raw, type=_Schema).schema
        if schema > SCHEMA:
            raise BundleError(f"{file} has schema {schema}; this runtime reads {SCHEMA}. Upgrade stpr here.")
        delta = msgspec.json.decode(raw, type=Delta)
        sealed = read_manifest((folder / MANIFEST).read_bytes(), str(folder / MANIFEST))
    except (OSError, msgspec.DecodeError) as error:
        raise BundleError(f"{file} is damaged or incomplete ({error}); {again}.") from error
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


def _rest(source: Path, same: Iterable[Copy]) -> bytes:
    """What a file holds beside the parts that are copied."""
    with source.open("rb") as whole:
        parts = []
        for copy in same:
            parts.append(whole.read(copy.at - whole.tell()))
            whole.seek(copy.at + copy.length)
        return b"".join([*parts, whole.read()])


def _is_smaller_in_planes(piece: bytes) -> bool:
    """Whether byte planes compress better, judged by the first piece."""
    plain, apart = (len(b"".join(_packed([piece], width))) for width in (1, WIDTH))
    return apart < plain


def _pack(content: bytes, target: Path, width: int) -> None:
    """Compress what a delta brings of a file, each piece in `width` planes; deterministic."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as out:
        out.writelines(_packed((content[at : at + PIECE] for at in range(0, len(content), PIECE)), width))


def _packed(pieces: Iterable[bytes], width: int) -> Iterator[bytes]:
    """A gzip file of pieces; what stands in planes has few repetitions, and a code that looks less for them."""
    strategy = zlib.Z_DEFAULT_STRATEGY if width == 1 else zlib.Z_FILTERED
    packer = zlib.compressobj(zlib.Z_BEST_COMPRESSION, wbits=16 + zlib.MAX_WBITS, strategy=strategy)
    yield from (packer.compress(_apart(piece, width)) for piece in pieces)
    yield packer.flush()


def _apart(piece: bytes, width: int) -> bytes:
    """The first byte of every number of `width` bytes, then the second, …; what is left over comes last."""
    numbers = len(piece) // width * width
    return np.frombuffer(piece[:numbers], np.uint8).reshape(-1, width).T.tobytes() + piece[numbers:]


def _together(piece: bytes, width: int) -> bytes:
    """What `_apart` was given."""
    numbers = len(piece) // width * width
    return np.frombuffer(piece[:numbers], np.uint8).reshape(width, -1).T.tobytes() + piece[numbers:]


def _bring(source: Path, pieces: Iterable[bytes], target: Path, entry: FileEntry) -> None:
    """Write what a file of a delta, `source`, stands for; raises BundleError where that is not `entry`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), entry.bytes
    try:
        with target.open("wb") as out:
            for piece in pieces:
                digest.update(piece)
                left -= len(piece)
                if left < 0:  # a few compressed bytes may expand to more than the disk holds
                    break
                out.write(piece)
    except (EOFError, gzip.BadGzipFile, zlib.error, FileNotFoundError) as error:
        raise BundleError(f"{source} is damaged or missing ({error}); copy the update again.") from error
    if left or digest.hexdigest() != entry.sha256:
        raise BundleError(f"{source} does not hold the {target.name} that was exported; copy the update again.")


def _joined(base: Path, same: Iterable[Copy], content: Iterator[bytes]) -> Iterator[bytes]:
    """A file of the new bundle: what is copied from the base's file, and what the delta brings between."""
    at, left = 0, b""
    for copy in same:
        while at < copy.at and (piece := left or next(content, b"")):
            piece, left = piece[: copy.at - at], piece[copy.at - at :]
            at += len(piece)
            yield piece
        for piece in _part(base, copy):
            at += len(piece)
            yield piece
    yield left
    yield from content


def _part(base: Path, copy: Copy) -> Iterator[bytes]:
    """The bytes of the base's file that are copied."""
    left = copy.length
    with base.open("rb") as old:
        old.seek(copy.start)
        while left and (piece := old.read(min(left, PIECE))):
            left -= len(piece)
            yield piece


def _content(source: Path, width: int) -> Iterator[bytes]:
    """A file of a delta, as it was before it was packed."""
    with source.open("rb") as raw:
        if source.suffix == PACKED:
            with gzip.GzipFile(fileobj=raw) as packed:
                while piece := packed.read(PIECE):
                    yield _together(piece, width)
        else:
            yield from iter(lambda: raw.read(PIECE), b"")


def _copy(source: Path, target: Path) -> None:
    """Copy the content, never a link, so that a bundle does not change when another one is deleted."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _copy_signature(source: Path, target: Path) -> None:
    """Copy a bundle's signature, if it has one."""
    if (source / SIGNATURE).is_file():
        _copy(source / SIGNATURE, target / SIGNATURE)
