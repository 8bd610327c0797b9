"""What a bundle says of itself. The exporter writes it with these types, the device reads it with them."""

from __future__ import annotations

import hashlib
import math
from typing import Literal, TypeAlias

import msgspec

from stpr.runtime.contract.errors import BundleError, ContractError
from stpr.runtime.contract.preprocess import PreprocessSpec
from stpr.runtime.contract.sampling import ClipSpec

SCHEMA = 1
Score: TypeAlias = Literal["likelihood_ratio", "cosine"]


class ClassEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A class in logit order and the stage (from 1) in which it was learnt."""

    name: str
    stage: int


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Name, element type and shape of a graph's input or output; a free axis bears its name, such as "batch"."""

    name: str
    dtype: Literal["uint8", "float32"]
    shape: tuple[int | str, ...]


class GraphSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ONNX file of the bundle: where it lies, what it takes and gives."""

    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class FileEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Size and SHA-256 of a file of the bundle."""

    bytes: int
    sha256: str


class ParitySummary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the parity certificate (`parity.json`) proved, and the tolerance that a device must repeat."""

    clips: int
    worst_logits: float
    worst_routing: float
    worst_familiarity: float
    top1_agreement: float
    routing_agreement: float
    tolerance: float


class UnknownSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a clip is none of the known actions: its familiarity is below the threshold of the likeliest class's stage.

    `score` says what familiarity measures, `recall` the share of known clips that each threshold was set to keep. A
    stage without a threshold (None) had too few clips to set one: what looks like its classes is never unknown.
    """

    score: Score
    recall: float
    thresholds: tuple[float | None, ...]  # one for each stage

    def __post_init__(self) -> None:
        """Refuse numbers that are none."""
        if not all(value is None or math.isfinite(value) for value in self.thresholds):
            raise ContractError(f"thresholds must be finite numbers, got {list(self.thresholds)}.")


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a device must know of a bundle. Logits are cosines; score = softmax(logits / temperature)."""

    schema: int
    name: str
    stage: int
    classes: tuple[ClassEntry, ...]
    clip: ClipSpec
    preprocess: PreprocessSpec
    temperature: float
    unknown: UnknownSpec | None  # None: never says unknown
    precision: Literal["fp32", "fp16", "int8"]
    graphs: dict[str, GraphSpec]  # encoder, head, clip
    files: dict[str, FileEntry]  # path inside the bundle -> digest; all but the manifest itself
    parity: ParitySummary
    provenance: dict[str, str]  # recipe, method, seed, versions, digest of the stage checkpoint

    def __post_init__(self) -> None:
        """Refuse a manifest that contradicts itself."""
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
        unlisted = sorted({graph.file for graph in self.graphs.values()} - self.files.keys())
        if unlisted:
            raise ContractError(f"graphs without a digest in `files`: {unlisted}.")

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in logit order."""
        return tuple(entry.name for entry in self.classes)


class _Sealed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file: a manifest and the SHA-256 of its canonical bytes, so that a flipped letter is noticed too."""

    digest: str
    manifest: Manifest


def digest_of(manifest: Manifest) -> str:
    """SHA-256 of the manifest's canonical bytes: the identity of the entire bundle, since it lists every digest."""
    return hashlib.sha256(_canonical(manifest)).hexdigest()


def _canonical(manifest: Manifest) -> bytes:
    """One spelling of each value: 1 and 1.0 are the same number to Python, not to a digest."""
    spelt = msgspec.json.decode(msgspec.json.encode(manifest), type=Manifest)
    return msgspec.json.encode(spelt, order="deterministic")


def manifest_bytes(manifest: Manifest) -> bytes:
    """The one form in which a manifest is written."""
    sealed = {"digest": digest_of(manifest), "manifest": msgspec.Raw(_canonical(manifest))}
    return msgspec.json.format(msgspec.json.encode(sealed), indent=1) + b"\n"


def read_manifest(raw: bytes, where: str) -> Manifest:
    """Parse `manifest.json`; `where` names the file in errors. Raises BundleError for anything but what was written."""
    try:
        schema = msgspec.json.decode(raw, type=_SealedSchema).manifest.schema
    except (msgspec.DecodeError, ValueError) as error:
        raise BundleError(f"{where} is damaged or not a manifest ({error}); copy the bundle again.") from error
    if schema != SCHEMA:
        raise BundleError(
            f"{where} has schema {schema}; this runtime reads {SCHEMA}. Export the stage again or upgrade stpr here."
        )
    try:
        sealed = msgspec.json.decode(raw, type=_Sealed)
    except (msgspec.DecodeError, ValueError, ContractError) as error:
        raise BundleError(f"{where} is damaged or not a manifest ({error}); copy the bundle again.") from error
    if manifest_bytes(sealed.manifest) != raw:
        raise BundleError(f"{where} is not as it was written (its digest does not hold); copy the bundle again.")
    return sealed.manifest


class _SchemaOnly(msgspec.Struct, frozen=True):
    schema: int


class _SealedSchema(msgspec.Struct, frozen=True):
    manifest: _SchemaOnly
