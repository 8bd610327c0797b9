"""Bundle folders: no file is used before its digest has been checked, and nothing in one can execute code."""

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
from stpr.runtime.contract.names import shown
from stpr.runtime.contract.preprocess import Array

MANIFEST = "manifest.json"
GOLDEN = "golden.npz"
PARITY = "parity.json"
PLACE = "place.npz"  # missing in older bundles
SIGNATURE = "signature.json"  # signs the manifest, which therefore does not list it
DELTA = "delta.json"  # marks an update, which is not a bundle


@dataclass(frozen=True, slots=True)
class Golden:
    """The golden clip: a real clip and PyTorch's outputs for it, with which a device can verify the bundle."""

    frames: Array  # (1, T, H, W, 3) uint8
    features: Array  # (1, T, D)
    logits: Array  # (1, C)
    routing: Array  # (1, E)
    familiarity: Array  # (1,)
    evidence: Array | None = None  # (1, C); None if the head has no evidence output
    greys: Array | None = None  # (1, T, K, 2, s, s) uint8; None without motion

    @property
    def feeds(self) -> dict[str, Array]:
        """The inputs of the clip graph."""
        return {"frames": self.frames} if self.greys is None else {"frames": self.frames, "greys": self.greys}


@dataclass(frozen=True, slots=True)
class Place:
    """Mean of the classes and standard deviation within a class, per column of the frame features `(D,)`.

    The deviation is 0 for columns whose mean over a clip is not used.
    """

    middle: Array
    deviation: Array


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle, whose files match the sizes and digests in its manifest."""

    path: Path
    manifest: Manifest
    digest: str  # of the manifest, which identifies the bundle

    def graph(self, name: GraphName) -> Path:
        """The ONNX file of a graph in the bundle's precision."""
        return self.path / self.manifest.graphs[name].variants[self.manifest.precision]

    def golden(self) -> Golden:
        """Read the golden clip; raises BundleError if the file is invalid."""
        file = self.path / GOLDEN
        try:
            with np.load(file, allow_pickle=False) as arrays:
                optional = {"evidence", "greys"} - set(arrays)
                return Golden(**{key: arrays[key] for key in Golden.__dataclass_fields__ if key not in optional})
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise BundleError(f"{file} holds no golden clip ({error}); export the stage again.") from error

    def place(self) -> Place | None:
        """Read the place of the classes, for `--adapt`; None if the bundle has none. Raises BundleError if invalid."""
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
    """Compute size and SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return FileEntry(bytes=path.stat().st_size, sha256=digest.hexdigest())


def open_bundle(path: Path) -> Bundle:
    """Read the manifest and check every file against it. Raises BundleError naming the first mismatch.

    The path of a manifest stands for its bundle.
    """
    if path.name == MANIFEST and path.is_file():
        path = path.parent
    manifest_file = path / MANIFEST
    if (path / DELTA).is_file():
        raise BundleError(f"{path} is an update, not a bundle; apply it with `stpr-update BUNDLE {path}`.")
    if not manifest_file.is_file():
        raise BundleError(f"{shown(path)} is not a bundle: it has no {MANIFEST}. {_suggestion(path)}")
    sealed = read_manifest(manifest_file.read_bytes(), str(manifest_file))
    for name, entry in sealed.manifest.files.items():
        check_file(path, name, entry)
    _check_precision(path, sealed.manifest)
    return Bundle(path, sealed.manifest, sealed.digest)


def _suggestion(path: Path) -> str:
    """Name the bundle that a file belongs to, or the bundles in a folder of them; how to make one if there is none."""
    near = [path.parent / MANIFEST, *sorted(path.glob(f"*/{MANIFEST}")), *sorted(path.glob(f"*/*/{MANIFEST}"))]
    found = [shown(file.parent) for file in near if file.is_file()]
    return f"Did you mean {', '.join(found[:3])}?" if found else "Make one with `stpr-export --stage N`."


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
    """A folder to write a bundle into, which replaces `target` when the block ends without an error.

    `needs`: approximate bytes that will be written. Raises BundleError without enough space or permission, or if
    another process is writing `target`; an existing `target` stays unchanged until the new folder is complete.
    """
    try:
        with locked(target), whole_folder(target, needs=needs) as folder:
            yield folder
    except OSError as error:
        raise BundleError(f"{explain(error, target, needs=needs)}, or choose another folder.") from error


def folder_name(stage: int, precision: Precision) -> str:
    """The name of a bundle's folder."""
    return f"stage-{stage}" if precision == "fp32" else f"stage-{stage}-{precision}"


def newest_bundle(root: Path) -> Path:
    """Find the most recently written bundle under `root` (`NAME/stage-N/`); raises BundleError if there is none."""
    found = sorted(root.glob(f"*/stage-*/{MANIFEST}"), key=lambda file: file.stat().st_mtime_ns)
    if not found:
        raise BundleError(
            f"no bundle under {root}/: export one with `stpr-export --stage N`, or name one with --bundle DIR."
        )
    return found[-1].parent


def place_of(root: Path, name: str) -> Path:
    """The path under `root` of a file in the manifest. Raises BundleError for a name that leads outside.

    Only the name is checked: a file may be a link into a store elsewhere; its digest is checked anyway.
    """
    inside = PurePosixPath(name)
    if inside.is_absolute() or ".." in inside.parts:
        raise BundleError(f"{root / MANIFEST} lists {name!r}, which lies outside the bundle; do not use this bundle.")
    return root / name


def check_file(root: Path, name: str, entry: FileEntry) -> None:
    """Raise BundleError unless the file under `root` matches its entry."""
    file = place_of(root, name)
    if not file.is_file():
        raise BundleError(f"{file} is missing; copy the bundle again.")
    found = file_entry(file)
    if found != entry:
        raise BundleError(
            f"{file} is not the file that was exported (sha256 {found.sha256[:12]}… with {found.bytes} bytes instead of"
            f" {entry.sha256[:12]}… with {entry.bytes}); copy the bundle again."
        )
