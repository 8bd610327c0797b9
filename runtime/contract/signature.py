"""Sign and verify bundles: an Ed25519 signature over the manifest, which lists the digests of all other files.

The signature is a separate file that the manifest does not list, so signing changes no digest. Trusted is only a public
key that the user names; the key in the signature file only says who claims to have signed.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from stpr.runtime.contract.bundle import MANIFEST, SIGNATURE, Bundle
from stpr.runtime.contract.durable import write_file, write_new_file
from stpr.runtime.contract.errors import BundleError, StprError
from stpr.runtime.contract.manifest import read_manifest
from stpr.runtime.contract.small_file import read_small

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SCHEMA: Final = 1
MISSING: Final = 'signatures need cryptography ({}): `pip install "stpr[sign]"`.'
SHOWN: Final = 32  # hexadecimal digits of a fingerprint: 128 bits


class Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of the signature file; both values are hexadecimal."""

    schema: int
    algorithm: Literal["ed25519"]
    key: str  # the public key, 32 bytes
    signature: str  # 64 bytes


class MissingLibraryError(StprError):
    """The cryptography library is not installed."""


def new_keys(file: Path) -> str:
    """Create a key pair: private key in `file`, readable by its owner only, public key in `file.pub`; both PEM.

    Returns the fingerprint. Raises StprError if either file exists, since a lost key can't be recreated.
    """
    public_file = public_of(file)
    for there in (file, public_file):
        if os.path.lexists(there):
            raise StprError(f"{there} exists already, and a key is never overwritten; name another file.")
    _need_library()
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    file.parent.mkdir(parents=True, exist_ok=True)
    # Created with this mode, so that others can never read it.
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(secret)
        opened.flush()
        os.fsync(opened.fileno())
    public = key.public_key()
    write_new_file(public_file, public.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo))
    return fingerprint(public.public_bytes_raw())


def public_of(file: Path) -> Path:
    """The path of the public key that belongs to a private key's file."""
    return file.with_name(f"{file.name}.pub")


def read_private_key(file: Path) -> Ed25519PrivateKey:
    """Read the key to sign with. Raises StprError if invalid, without showing its content."""
    _need_library()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    raw = _read(file, "private")
    try:
        key = load_pem_private_key(raw, None)
    except (ValueError, TypeError, _unsupported()) as error:  # TypeError: protected by a password
        raise _no_key(file, "private") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(file, "private")
    return key


def read_public_key(file: Path) -> Ed25519PublicKey:
    """Read the key to trust. Raises StprError if invalid."""
    _need_library()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    raw = _read(file, "public")
    try:
        key = load_pem_public_key(raw)
    except (ValueError, _unsupported()) as error:
        raise _no_key(file, "public") from error
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(file, "public")
    return key


def fingerprint(public: bytes) -> str:
    """The fingerprint of a public key's 32 bytes: the first digits of their SHA-256."""
    return hashlib.sha256(public).hexdigest()[:SHOWN]


def sign(folder: Path, key: Ed25519PrivateKey) -> None:
    """Sign the manifest in `folder`."""
    made = Signature(
        schema=SCHEMA,
        algorithm="ed25519",
        key=key.public_key().public_bytes_raw().hex(),
        signature=key.sign((folder / MANIFEST).read_bytes()).hex(),
    )
    write_file(folder / SIGNATURE, msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n")


def signer(folder: Path, trusted: Ed25519PublicKey | None = None) -> tuple[str, str] | None:
    """Verify the signature of a bundle or update; returns the signing key's fingerprint and the bundle's digest.

    Without a signature returns None, unless a trusted key is given. Raises BundleError for an invalid signature or one
    of another key; MissingLibraryError if it can't be verified.
    """
    if not (folder / MANIFEST).is_file():
        raise BundleError(f"{folder} is not a bundle: it has no {MANIFEST}. Make one with `stpr-export --stage N`.")
    signature = _read_signature(folder)
    if signature is None:
        if trusted is None:
            return None
        raise BundleError(
            f"{folder} has no signature (no {SIGNATURE}), and a signature of {_of(trusted)} is required; export it with"
            " `stpr-export --sign KEY`."
        )
    _need_library()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        claimed, value = bytes.fromhex(signature.key), bytes.fromhex(signature.signature)
        key = Ed25519PublicKey.from_public_bytes(claimed)
    except ValueError as error:
        raise _damaged(folder, error) from error
    if trusted is not None and claimed != trusted.public_bytes_raw():
        raise BundleError(
            f"{folder} is signed by key {fingerprint(claimed)}, and a signature of {_of(trusted)} is required; use a"
            " bundle of that key, or name the key that you trust."
        )
    raw = (folder / MANIFEST).read_bytes()
    try:
        key.verify(value, raw)
    except InvalidSignature as error:
        raise BundleError(
            f"{folder / MANIFEST} is not what key {fingerprint(claimed)} signed: it was changed afterwards, or the"
            " signature is of another bundle; copy the bundle again from a place you trust."
        ) from error
    return fingerprint(claimed), read_manifest(raw, str(folder / MANIFEST)).digest


def check_is_signed(bundle: Bundle, digest: str) -> None:
    """Raise BundleError unless the opened bundle has the digest that was signed."""
    if bundle.digest != digest:
        raise BundleError(
            f"{bundle.path} is not the bundle that was signed ({bundle.digest[:12]}… instead of {digest[:12]}…): it"
            " changed while it was read; copy it again."
        )


def _read_signature(folder: Path) -> Signature | None:
    file = folder / SIGNATURE
    if not file.is_file():
        return None
    try:
        read = msgspec.json.decode(file.read_bytes(), type=Signature)
    except (OSError, msgspec.DecodeError, ValueError) as error:
        raise _damaged(folder, error) from error
    if read.schema != SCHEMA:
        raise BundleError(f"{file} has schema {read.schema}; this runtime reads {SCHEMA}. Upgrade stpr here.")
    return read


def _damaged(folder: Path, error: Exception) -> BundleError:
    return BundleError(f"{folder / SIGNATURE} is damaged or not a signature ({error}); copy the bundle again.")


def _read(file: Path, kind: str) -> bytes:
    try:
        return read_small(file)
    except OSError as error:
        raise StprError(
            f"can't read the {kind} key {file} ({error.strerror}); check the path, or make a pair with"
            " `stpr-export keygen KEY`."
        ) from error


def _no_key(file: Path, kind: str) -> StprError:
    wanted = "KEY" if kind == "private" else "KEY.pub"
    return StprError(
        f"{file} is not a {kind} Ed25519 key in PEM without a password; name the {wanted} of `stpr-export keygen KEY`."
    )


def _of(key: Ed25519PublicKey) -> str:
    return f"key {fingerprint(key.public_bytes_raw())}"


def _need_library() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise MissingLibraryError(MISSING.format(error)) from error


def _unsupported() -> type[Exception]:
    from cryptography.exceptions import UnsupportedAlgorithm

    return UnsupportedAlgorithm
