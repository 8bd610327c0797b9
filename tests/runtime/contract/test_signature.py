"""Who signed a bundle: what is not as it was signed, or of another key, or of nobody, is one clear line."""

from __future__ import annotations

import re
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
import pytest
from click.testing import CliRunner

from stpr.runtime.check import check_bundle
from stpr.runtime.cli import check, run
from stpr.runtime.contract.bundle import MANIFEST, SIGNATURE, file_entry, open_bundle
from stpr.runtime.contract.delta import apply_delta, write_delta
from stpr.runtime.contract.errors import BundleError, StprError
from stpr.runtime.contract.manifest import manifest_bytes, read_manifest
from stpr.runtime.contract.signature import (
    MissingLibraryError,
    check_is_signed,
    new_keys,
    read_private_key,
    read_public_key,
    sign,
    signer,
)
from tests.factories import make_bundle
from tests.runtime.updates.bundles import make_next

pytest.importorskip("cryptography")


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed bundle, and the pair of keys it was signed with."""

    bundle: Path
    key: Path
    public: Path
    name: str  # fingerprint of the key


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    key, bundle = tmp_path / "keys" / "fleet", make_bundle(tmp_path)
    name = new_keys(key)
    sign(bundle, read_private_key(key))
    return Signed(bundle, key, tmp_path / "keys" / "fleet.pub", name)


def reseal(bundle: Path, name: str = "toy") -> None:
    """Make the manifest fit what lies there, as somebody would who changes a bundle and has no key."""
    manifest = read_manifest((bundle / MANIFEST).read_bytes(), "manifest").manifest
    files = {file: file_entry(bundle / file) for file in manifest.files}
    (bundle / MANIFEST).write_bytes(manifest_bytes(msgspec.structs.replace(manifest, name=name, files=files)))


def test_a_signature_holds_and_changes_nothing_of_the_bundle(signed: Signed) -> None:
    opened = open_bundle(signed.bundle)
    found = signer(signed.bundle, read_public_key(signed.public))
    assert found == (signed.name, opened.digest) == signer(signed.bundle)
    assert SIGNATURE not in opened.manifest.files
    check_is_signed(opened, opened.digest)
    with pytest.raises(BundleError, match="is not the bundle that was signed"):
        check_is_signed(opened, "0" * 64)
    before = (signed.bundle / SIGNATURE).read_bytes()
    sign(signed.bundle, read_private_key(signed.key))
    assert (signed.bundle / SIGNATURE).read_bytes() == before  # the same key and bundle give the same bytes


def test_a_private_key_is_its_owners_alone_and_no_key_is_overwritten(signed: Signed, tmp_path: Path) -> None:
    assert stat.S_IMODE(signed.key.stat().st_mode) == 0o600
    held = signed.key.read_bytes(), signed.public.read_bytes()
    with pytest.raises(StprError, match=r"fleet exists already, and a key is never overwritten"):
        new_keys(signed.key)
    assert held == (signed.key.read_bytes(), signed.public.read_bytes())
    (tmp_path / "other.pub").write_text("mine")
    with pytest.raises(StprError, match=r"other\.pub exists already"):
        new_keys(tmp_path / "other")
    assert not (tmp_path / "other").exists()
    (tmp_path / "dangling").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StprError, match=r"dangling exists already"):
        new_keys(tmp_path / "dangling")


def tampered(signed: Signed) -> str:
    reseal(signed.bundle, name="toys")
    return rf"manifest\.json is not what key {signed.name} signed"


def swapped(signed: Signed) -> str:
    (signed.bundle / "head.onnx").write_bytes(b"of somebody else")
    reseal(signed.bundle)
    return rf"manifest\.json is not what key {signed.name} signed"


def other_key(signed: Signed) -> str:
    other = new_keys(signed.key.with_name("other"))
    sign(signed.bundle, read_private_key(signed.key.with_name("other")))
    return rf"signed by key {other}, and a signature of key {signed.name} is required"


def claimed(signed: Signed) -> str:
    """Another key's signature that says it is the trusted one's."""
    right = msgspec.json.decode((signed.bundle / SIGNATURE).read_bytes())
    other_key(signed)
    wrong = msgspec.json.decode((signed.bundle / SIGNATURE).read_bytes())
    (signed.bundle / SIGNATURE).write_bytes(msgspec.json.encode(wrong | {"key": right["key"]}))
    return rf"manifest\.json is not what key {signed.name} signed"


def unsigned(signed: Signed) -> str:
    (signed.bundle / SIGNATURE).unlink()
    return rf"has no signature \(no signature\.json\), and a signature of key {signed.name} is required"


def damaged(signed: Signed) -> str:
    (signed.bundle / SIGNATURE).write_text("{}")
    return r"signature\.json is damaged or not a signature"


def newer(signed: Signed) -> str:
    tree = msgspec.json.decode((signed.bundle / SIGNATURE).read_bytes())
    (signed.bundle / SIGNATURE).write_bytes(msgspec.json.encode(tree | {"schema": 2}))
    return r"signature\.json has schema 2; this runtime reads 1"


def no_hexadecimal(signed: Signed) -> str:
    tree = msgspec.json.decode((signed.bundle / SIGNATURE).read_bytes())
    (signed.bundle / SIGNATURE).write_bytes(msgspec.json.encode(tree | {"key": "xyz"}))
    return r"signature\.json is damaged or not a signature"


Wrong: TypeAlias = Callable[[Signed], str]  # spoils a bundle, and gives what must be said of it
WRONGS: Final[list[Wrong]] = [tampered, swapped, other_key, claimed, unsigned, damaged, newer, no_hexadecimal]


@pytest.mark.parametrize("wrong", WRONGS)
def test_what_is_wrong_is_one_line_and_exit_code_2_where_a_signature_is_required(signed: Signed, wrong: Wrong) -> None:
    says, bundle = wrong(signed), str(signed.bundle)
    for command, arguments in (
        (check, [bundle]),
        (run, ["--source", "synthetic:motions", "--headless", "--bundle", bundle]),
    ):
        told = CliRunner().invoke(command, [*arguments, "--require-signature", str(signed.public)])
        assert told.exit_code == 2
        (line,) = told.output.splitlines()
        assert re.search(says, line), line


@pytest.mark.parametrize("wrong", [tampered, claimed, damaged])
def test_a_signature_that_does_not_hold_fails_unasked_too(signed: Signed, wrong: Wrong) -> None:
    wrong(signed)
    (line,) = [line for line in check_bundle(signed.bundle, "onnxruntime", threads=1) if line.what == "signature"]
    assert not line.holds


def test_a_check_says_who_signed(signed: Signed) -> None:
    told = CliRunner().invoke(check, [str(signed.bundle), "--require-signature", str(signed.public)])
    assert told.exit_code == 0, told.output
    assert f"by key {signed.name}, as required\n" in told.output
    asked = CliRunner().invoke(check, [str(signed.bundle)])
    assert f"by key {signed.name}, not compared with a trusted key (--require-signature PUBKEY)\n" in asked.output
    (signed.bundle / SIGNATURE).unlink()
    assert "signature" not in CliRunner().invoke(check, [str(signed.bundle)]).output


def test_files_that_are_no_keys_are_named_with_the_remedy(signed: Signed, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("secret")
    for file, read in ((signed.public, read_private_key), (signed.key, read_public_key)):
        with pytest.raises(StprError, match=r"is not a (private|public) Ed25519 key .*stpr-export keygen KEY"):
            read(file)
        with pytest.raises(StprError, match=r"text is not a (private|public)") as caught:
            read(tmp_path / "text")
        assert "secret" not in caught.value.message
        with pytest.raises(StprError, match=r"can't read the (private|public) key .*nowhere \(No such file"):
            read(tmp_path / "nowhere")


def test_without_the_library_the_extra_is_named(signed: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for work in (lambda: read_public_key(signed.public), lambda: new_keys(signed.key.with_name("new"))):
        with pytest.raises(MissingLibraryError, match=r'signatures need cryptography .*pip install "stpr\[sign\]"'):
            work()
    (line,) = [line for line in check_bundle(signed.bundle, "onnxruntime", threads=1) if line.what == "signature"]
    assert line.found.startswith("present, but not verified: signatures need cryptography")
    told = CliRunner().invoke(check, [str(signed.bundle), "--require-signature", str(signed.public)])
    assert told.exit_code == 2
    assert len(told.output.splitlines()) == 1


def test_a_signature_travels_with_an_update(signed: Signed, tmp_path: Path) -> None:
    new = make_next(signed.bundle, tmp_path / "server" / "stage-3")
    sign(new, read_private_key(signed.key))
    old = open_bundle(signed.bundle)
    delta = write_delta(old, open_bundle(new), tmp_path / "update")
    made = apply_delta(old, delta, tmp_path / "device" / "stage-3")
    assert signer(delta, read_public_key(signed.public)) == (signed.name, made.digest)
    assert (made.path / SIGNATURE).read_bytes() == (new / SIGNATURE).read_bytes()
