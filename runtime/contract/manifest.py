"""The manifest of a bundle: the exporter writes it with these types, the device reads it with them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from enum import Enum
from typing import Final, Literal, TypeAlias

import msgspec

from stpr.runtime.contract.errors import BundleError, ContractError
from stpr.runtime.contract.motion import MotionSpec
from stpr.runtime.contract.preprocess import PreprocessSpec
from stpr.runtime.contract.sampling import ClipSpec
from stpr.runtime.contract.upgrade import UPGRADES

SCHEMA: Final = 4  # written; readable are this and the keys of UPGRADES
Score: TypeAlias = Literal["likelihood_ratio", "cosine"]
Precision: TypeAlias = str  # any name known to the exporter; engines read the types from the graph


class GraphName(str, Enum):
    """The graphs of a bundle; each member is also the text that the manifest and error messages use."""

    ENCODER = "encoder"  # frames (N, H, W, 3), greys (N, K, 2, s, s) uint8 -> features (N, D); greys only with motion
    HEAD = "head"  # features (B, T, D) -> logits (B, C), routing (B, E), familiarity (B,)
    CLIP = "clip"  # frames (B, T, H, W, 3), greys (B, T, K, 2, s, s) uint8 -> the same: encoder and head in one

    def __str__(self) -> str:
        """The value, in every version of Python."""
        return self.value


class ClassEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A class, in logit order, and the stage (from 1) in which it was learnt.

    `moves`: whether it is recognised by how it moves, so that a window needs evidence of it to get its label.
    """

    name: str
    stage: int
    moves: bool


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Name, element type and shape of a graph's input or output; a dynamic axis has a name, such as "batch"."""

    name: str
    dtype: Literal["uint8", "float32"]
    shape: tuple[int | str, ...]


class GraphSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One graph of the bundle: inputs, outputs, and its ONNX file in each precision."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    variants: dict[Precision, str]

    @property
    def file(self) -> str:
        """Its first file, for error messages."""
        return next(iter(self.variants.values()))


class FileEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Size and SHA-256 of a file of the bundle."""

    bytes: int
    sha256: str


class ParitySummary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Summary of the parity certificate (`parity.json`) for one precision, and the tolerances for the device's check.

    `tolerances`: for each output (features, logits, routing, familiarity) the allowed difference from PyTorch on the
    golden clip, relative to its largest value if that exceeds 1.
    """

    clips: int
    worst_logits: float
    worst_routing: float
    worst_familiarity: float
    top1_agreement: float
    routing_agreement: float
    tolerances: dict[str, float]


class UnknownSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Thresholds for unknown clips: unknown if the familiarity is below the threshold of the best class's stage.

    `score`: what familiarity measures; `recall`: the share of known clips that each threshold was set to accept. A
    stage without a threshold (None) had too few clips to set one; its classes are never reported as unknown.
    """

    score: Score
    recall: float
    thresholds: tuple[float | None, ...]  # one for each stage

    def __post_init__(self) -> None:
        """Raise ContractError for thresholds that are NaN or infinite."""
        if not all(value is None or math.isfinite(value) for value in self.thresholds):
            raise ContractError(f"thresholds must be finite numbers, got {list(self.thresholds)}.")


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a device must know about a bundle. Logits are cosines; score = softmax(logits / temperature)."""

    schema: int
    name: str
    stage: int
    classes: tuple[ClassEntry, ...]
    clip: ClipSpec
    preprocess: PreprocessSpec
    motion: MotionSpec | None  # None: the encoder has no motion input
    temperature: float
    unknown: UnknownSpec | None  # None: no clip is reported as unknown
    precision: Precision  # the default precision
    graphs: dict[GraphName, GraphSpec]
    files: dict[str, FileEntry]  # path inside the bundle -> digest; all files except the manifest
    parity: dict[Precision, ParitySummary]
    provenance: dict[str, str]  # recipe, method, seed, versions, digest of the stage checkpoint

    def __post_init__(self) -> None:
        """Raise ContractError for an inconsistent manifest."""
        names = [entry.name for entry in self.classes]
        if not names or len(set(names)) != len(names):
            raise ContractError(f"a manifest needs distinct class names, got {names}.")
        stages = [entry.stage for entry in self.classes]
        if stages != sorted(stages) or set(stages) != set(range(1, self.stage + 1)):
            raise ContractError(f"the classes' stages must run from 1 to {self.stage} in order, got {stages}.")
        if not self.temperature > 0:
            raise ContractError(f"the temperature must be positive, got {self.temperature}.")
        if self.unknown is not None and len(self.unknown.thresholds) != self.stage:
            raise ContractError(f"{self.stage} stages need as many thresholds, got {list(self.unknown.thresholds)}.")
        self._check_variants()

    def _check_variants(self) -> None:
        files = {file for graph in self.graphs.values() for file in graph.variants.values()}
        if unlisted := sorted(files - self.files.keys()):
            raise ContractError(f"graphs without a digest in `files`: {unlisted}.")
        without = [str(name) for name in GraphName if self.precision not in _variants(self.graphs, name)]
        if without or self.precision not in self.parity:
            raise ContractError(f"{self.precision} lacks {', '.join(without) or 'its proof in `parity`'}.")
        outputs = {tensor.name for graph in self.graphs.values() for tensor in graph.outputs}
        if loose := sorted(outputs - self.tolerances.keys()):
            raise ContractError(f"outputs without a tolerance: {loose}.")

    @property
    def tolerances(self) -> Mapping[str, float]:
        """The allowed difference of each output, in the bundle's precision."""
        return self.parity[self.precision].tolerances

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in logit order."""
        return tuple(entry.name for entry in self.classes)


class SealedManifest(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest and the digest in its file (of the schema it was written in), which identifies the bundle."""

    digest: str
    manifest: Manifest


def manifest_bytes(manifest: Manifest) -> bytes:
    """Encode a manifest with the SHA-256 of its canonical bytes."""
    return _seal(_canonical(manifest))


def read_manifest(raw: bytes, where: str) -> SealedManifest:
    """Parse `manifest.json`; `where` names the file in errors. Raises BundleError if it was damaged or changed.

    Manifests of older schemas are upgraded.
    """
    try:
        sealed = msgspec.json.decode(raw, type=_Sealed)
        schema = msgspec.json.decode(sealed.manifest, type=_SchemaOnly).schema
        canonical = msgspec.json.format(bytes(sealed.manifest), indent=-1)
    except (msgspec.DecodeError, ValueError) as error:
        raise BundleError(f"{where} is damaged or not a manifest ({error}); copy the bundle again.") from error
    if _seal(canonical) != raw:
        raise BundleError(f"{where} was changed after it was written (its digest differs); copy the bundle again.")
    if schema not in (*UPGRADES, SCHEMA):
        raise BundleError(
            f"{where} has schema {schema}; this runtime reads {min(UPGRADES)} to {SCHEMA}."
            " Export the stage again or upgrade stpr here."
        )
    try:
        return SealedManifest(digest=sealed.digest, manifest=_upgraded(canonical, schema))
    except (msgspec.ValidationError, ContractError) as error:
        raise BundleError(f"{where} is not a manifest ({error}); export the stage again.") from error


class _Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file in any schema: a manifest and its digest, which reveals any change."""

    digest: str
    manifest: msgspec.Raw


class _SchemaOnly(msgspec.Struct, frozen=True):
    schema: int


def _upgraded(canonical: bytes, schema: int) -> Manifest:
    tree = msgspec.json.decode(canonical)
    for older in range(schema, SCHEMA):
        tree = UPGRADES[older](tree)
    return msgspec.convert(tree, Manifest)


def _canonical(manifest: Manifest) -> bytes:
    """The canonical encoding, since 1 and 1.0 are equal in Python but have different digests."""
    spelt = msgspec.json.decode(msgspec.json.encode(manifest), type=Manifest)
    return msgspec.json.encode(spelt, order="deterministic")


def _seal(canonical: bytes) -> bytes:
    sealed = {"digest": _sha256(canonical), "manifest": msgspec.Raw(canonical)}
    return msgspec.json.format(msgspec.json.encode(sealed), indent=1) + b"\n"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _variants(graphs: Mapping[GraphName, GraphSpec], name: GraphName) -> Mapping[Precision, str]:
    return graphs[name].variants if name in graphs else {}
