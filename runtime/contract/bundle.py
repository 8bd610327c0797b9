"""A bundle folder: nothing in it is used before its digest has been checked, nothing in it can execute code."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec
import numpy as np

from stpr.runtime.contract.durable import explain, locked, whole_folder
from stpr.runtime.contract.errors import BundleError
from stpr.runtime.contract.manifest import FileEntry, GraphName, Manifest, Precision, read_manifest
from stpr.runtime.contract.preprocess import Array

MANIFEST = "manifest.json"
GOLDEN = "golden.npz"
PARITY = "parity.json"
PLACE = "place.npz"  # bundles of before it have none
SIGNATURE = "signature.json"  # over the manifest, which therefore does not list it
DELTA = "delta.json"  # in an update, which is no bundle


@dataclass(frozen=True, slots=True)
class Golden:
    """A real clip and what PyTorch made of it: the bundle's proof of itself."""

    frames: Array  # (1, T, H, W, 3) uint8
    features: Array  # (1, T, D)
    logits: Array  # (1, C)
    routing: Array  # (1, E)
    familiarity: Array  # (1,)
    evidence: Array | None = None  # (1, C); None where the head tells no events
    greys: Array | None = None  # (1, T, K, 2, s, s) uint8; None where the encoder sees no motion

    @property
    def feeds(self) -> dict[str, Array]:
        """What the clip graph takes."""
        return {"frames": self.frames} if self.greys is None else {"frames": self.frames, "greys": self.greys}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the learnt classes lie among frame features `(D,)`, and how far the clips of one class lie apart there.

    The deviation is 0 for columns that say nothing of how a clip looks on the whole.
    """

    middle: Array
    deviation: Array


@dataclass(frozen=True, slots=True)
class Bundle:
    """A folder whose files have the sizes and digests that its manifest lists."""

    path: Path
    manifest: Manifest
    digest: str  # the manifest's, as it was sealed: the identity of the bundle

    def graph(self, name: GraphName) -> Path:
        """The ONNX file of a graph in the bundle's precision."""
        return self.path / self.manifest.graphs[name].variants[self.manifest.precision]

    def golden(self) -> Golden:
        """The golden clip; raises BundleError if the file does not hold one."""
        file = self.path / GOLDEN
        try:
            with np.load(file, allow_pickle=False) as arrays:
                optional = {"evidence", "greys"} - set(arrays)
                return Golden(**{key: arrays[key] for key in Golden.__dataclass_fields__ if key not in optional})
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise BundleError(f"{file} holds no golden clip ({error}); export the stage again.") from error

    def place(self) -> Place | None:
        """Where the classes lie, for `--adapt`; None where the bundle does not say. Raises BundleError for no such."""
        if PLACE not in self.manifest.files:
            return None
        file = self.path / PLACE
        (features,) = self.manifest.graphs[GraphName.ENCODER].outputs
        try:
            with np.load(file, allow_pickle=False) as arrays:
                place = Place(middle=arrays["middle"], deviation=arrays["deviation"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise BundleError(f"{file} does not say where classes lie ({error}); export the stage again.") from error
        width = features.shape[1:]
        fits = place.middle.shape == place.deviation.shape == width
        if not fits or not np.isfinite([place.middle, place.deviation]).all() or (place.deviation < 0).any():
            raise BundleError(f"{file} does not fit features of {list(width)}; export the stage again.")
        return place


def file_entry(path: Path) -> FileEntry:
    """Size and SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return FileEntry(bytes=path.stat().st_size, sha256=digest.hexdigest())


def open_bundle(path: Path) -> Bundle:
    """Read the manifest and check every file against it. Raises BundleError naming the first that does not hold.

    A manifest's own path means the bundle that it lies in.
    """
    if path.name == MANIFEST and path.is_file():
        path = path.parent
    manifest_file = path / MANIFEST
    if (path / DELTA).is_file():
        raise BundleError(f"{path} is an update and no bundle; apply it with `stpr-update BUNDLE {path}`.")
    if not manifest_file.is_file():
        raise BundleError(f"{path} is no bundle: it has no {MANIFEST}. Make one with `stpr-export --stage N`.")
    sealed = read_manifest(manifest_file.read_bytes(), str(manifest_file))
    for name, entry in sealed.manifest.files.items():
        check_file(path, name, entry)
    _check_precision(path, sealed.manifest)
    return Bundle(path, sealed.manifest, sealed.digest)


class _Proof(msgspec.Struct, frozen=True):
    """What is read of a certificate here."""

    precision: str | None = None


def _check_precision(path: Path, manifest: Manifest) -> None:
    """Raise BundleError for a bundle that was proved in another precision than it is called after."""
    file = path / PARITY
    try:
        proved = msgspec.json.decode(file.read_bytes(), type=_Proof).precision if PARITY in manifest.files else None
    except (OSError, msgspec.DecodeError) as error:
        raise BundleError(f"{file} holds no certificate ({error}); export the stage again.") from error
    if proved not in (None, manifest.precision):
        raise BundleError(
            f"{path} is called {manifest.precision}, and what was proved is {proved} ({PARITY}); export the stage"
            " again."
        )


@contextmanager
def new_bundle_folder(target: Path, *, needs: int) -> Iterator[Path]:
    """A folder to write a bundle into; it is put in place of `target` when the block ends without an error.

    `needs` is about how many bytes will be written. Raises BundleError when there is no room or no permission, or when
    another process is writing `target`; what is at `target` stays as it is until the new folder is complete.
    """
    try:
        with locked(target), whole_folder(target, needs=needs) as folder:
            yield folder
    except OSError as error:
        raise BundleError(f"{explain(error, target, needs=needs)}, or choose another folder.") from error


def folder_name(stage: int, precision: Precision) -> str:
    """What the folder of a bundle is called."""
    return f"stage-{stage}" if precision == "fp32" else f"stage-{stage}-{precision}"


def newest_bundle(root: Path) -> Path:
    """The bundle under `root` (`NAME/stage-N/`) that was written last; raises BundleError if there is none."""
    found = sorted(root.glob(f"*/stage-*/{MANIFEST}"), key=lambda file: file.stat().st_mtime_ns)
    if not found:
        raise BundleError(
            f"no bundle under {root}/: export one with `stpr-export --stage N`, or name one with --bundle DIR."
        )
    return found[-1].parent


def place_of(root: Path, name: str) -> Path:
    """Where a file of the manifest lies under `root`. Raises BundleError for a name that leads out of there.

    The name alone is judged: a bundle's file may be a link into a store elsewhere, and then its digest is what counts.
    """
    inside = PurePosixPath(name)
    if inside.is_absolute() or ".." in inside.parts:
        raise BundleError(f"{root / MANIFEST} lists {name!r}, which lies outside the bundle; do not use this bundle.")
    return root / name


def check_file(root: Path, name: str, entry: FileEntry) -> None:
    """Raise BundleError unless the file under `root` is what its entry says, and lies in there."""
    file = place_of(root, name)
    if not file.is_file():
        raise BundleError(f"{file} is missing; copy the bundle again.")
    found = file_entry(file)
    if found != entry:
        raise BundleError(
            f"{file} is not the file that was exported (sha256 {found.sha256[:12]}… with {found.bytes} bytes instead of"
            f" {entry.sha256[:12]}… with {entry.bytes}); copy the bundle again."
        )
