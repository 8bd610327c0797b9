"""Updates: what an older bundle lacks makes it the new one, byte for byte, or nothing happens at all."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from stpr.runtime.cli import update
from stpr.runtime.contract import delta as module
from stpr.runtime.contract.bundle import DELTA, MANIFEST, file_entry, open_bundle
from stpr.runtime.contract.delta import apply_delta, bytes_of, stage_of, write_delta
from stpr.runtime.contract.errors import BundleError
from stpr.runtime.contract.manifest import ClassEntry, manifest_bytes
from tests.factories import make_bundle


@dataclass(frozen=True, slots=True)
class Shipped:
    """Stage 2 on a device, stage 3 where it was made, and the update between them."""

    old: Path
    new: Path
    delta: Path


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def shipped(tmp_path: Path) -> Shipped:
    old = make_bundle(tmp_path / "device")
    new = tmp_path / "server" / "stage-3"
    shutil.copytree(old, new)
    (new / "weights").mkdir()
    (new / "weights" / "expert-3.bin").write_bytes(os.urandom(4000))
    (new / "parity.json").rename(new / "proof.json")  # the same content under another name
    before = open_bundle(old).manifest
    files = {str(file.relative_to(new)): file_entry(file) for file in sorted(new.rglob("*.*")) if file.name != MANIFEST}
    classes = (*before.classes, ClassEntry(name="spin", stage=3))
    manifest = msgspec.structs.replace(before, stage=3, classes=classes, files=files)
    (new / MANIFEST).write_bytes(manifest_bytes(manifest))
    delta = write_delta(open_bundle(old), open_bundle(new), tmp_path / "update-2-to-3")
    return Shipped(old, new, delta)


def test_it_brings_what_is_new_alone_and_gives_the_new_bundle_byte_for_byte(shipped: Shipped, tmp_path: Path) -> None:
    assert sorted(content(shipped.delta)) == sorted([DELTA, MANIFEST, "weights/expert-3.bin"])
    assert bytes_of(shipped.delta) == sum(map(len, content(shipped.delta).values()))
    assert stage_of(shipped.delta) == 3
    before, target = content(shipped.old), tmp_path / "device" / "stage-3"
    made = apply_delta(open_bundle(shipped.old), shipped.delta, target)
    assert content(target) == content(shipped.new)
    assert made.digest == open_bundle(shipped.new).digest
    assert content(shipped.old) == before
    shutil.rmtree(shipped.old)
    assert not any(file.is_symlink() or file.stat().st_nlink > 1 for file in target.rglob("*.*"))
    assert open_bundle(target).digest == made.digest


def test_twice_does_no_harm(shipped: Shipped, tmp_path: Path) -> None:
    target = tmp_path / "stage-3"
    first = apply_delta(open_bundle(shipped.old), shipped.delta, target)
    stamp = (target / MANIFEST).stat().st_mtime_ns
    assert apply_delta(open_bundle(shipped.old), shipped.delta, target) == first
    assert (target / MANIFEST).stat().st_mtime_ns == stamp


@pytest.mark.parametrize("cut", ["weights/expert-3.bin", MANIFEST, DELTA])
@pytest.mark.parametrize("kind", ["truncated", "flipped", "missing"])
def test_a_damaged_update_is_refused_and_nothing_is_left(cut: str, kind: str, shipped: Shipped, tmp_path: Path) -> None:
    file = shipped.delta / cut
    raw = bytearray(file.read_bytes())
    if kind == "missing":
        file.unlink()
    else:
        raw[len(raw) // 2] ^= 1
        file.write_bytes(raw[: len(raw) // 2] if kind == "truncated" else raw)
    target = tmp_path / "device" / "stage-3"
    with pytest.raises(BundleError) as caught:
        apply_delta(open_bundle(shipped.old), shipped.delta, target)
    assert str(shipped.delta) in caught.value.message
    assert "again" in caught.value.message or "is no update" in caught.value.message
    assert [path.name for path in (tmp_path / "device").iterdir()] == ["toy"]
    open_bundle(shipped.old)


def test_another_base_is_refused_by_name(shipped: Shipped, tmp_path: Path) -> None:
    other = open_bundle(make_bundle(tmp_path / "other", temperature=0.5))
    with pytest.raises(BundleError, match=r"updates toy stage 2 \(\w{12}…\), and .* is toy stage 2 .* made for"):
        apply_delta(other, shipped.delta, tmp_path / "stage-3")
    with pytest.raises(BundleError, match=r"and .* is toy stage 3"):
        apply_delta(open_bundle(shipped.new), shipped.delta, tmp_path / "stage-3")


def test_another_bundle_in_its_place_stays(shipped: Shipped, tmp_path: Path) -> None:
    there = make_bundle(tmp_path / "there")
    before = content(there)
    with pytest.raises(BundleError, match=r"holds another bundle, toy stage 2 .*--out"):
        apply_delta(open_bundle(shipped.old), shipped.delta, there)
    assert content(there) == before


def test_a_name_that_leads_out_of_the_bundle_is_refused(shipped: Shipped, tmp_path: Path) -> None:
    manifest = open_bundle(shipped.new).manifest
    files = {**manifest.files, "../../stolen": next(iter(open_bundle(shipped.old).manifest.files.values()))}
    forged = manifest_bytes(msgspec.structs.replace(manifest, files=files))
    (shipped.delta / MANIFEST).write_bytes(forged)
    digest = msgspec.json.decode(forged)["digest"]
    told = msgspec.json.decode((shipped.delta / DELTA).read_bytes())
    (shipped.delta / DELTA).write_bytes(msgspec.json.encode({**told, "target": digest}))
    with pytest.raises(BundleError, match="lies outside the bundle"):
        apply_delta(open_bundle(shipped.old), shipped.delta, tmp_path / "a" / "b" / "stage-3")
    assert not list(tmp_path.rglob("stolen"))


@pytest.mark.parametrize("killed_at", range(7))
def test_killed_between_any_two_writes_the_old_bundle_runs_and_the_next_try_succeeds(
    killed_at: int, shipped: Shipped, tmp_path: Path
) -> None:
    target, started = tmp_path / "device" / "stage-3", len(open_bundle(shipped.new).manifest.files)
    child = os.fork()
    if child == 0:  # a real death, with nothing tidied up
        left, copy = killed_at, module._copy

        def dying(source: Path, place: Path) -> None:
            nonlocal left
            if left == 0:
                os._exit(9)
            left -= 1
            copy(source, place)

        vars(module)["_copy"] = dying
        apply_delta(open_bundle(shipped.old), shipped.delta, target)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == (9 if killed_at <= started else 0)
    open_bundle(shipped.old)
    assert apply_delta(open_bundle(shipped.old), shipped.delta, target).digest == open_bundle(shipped.new).digest
    assert sorted(path.name for path in target.parent.iterdir()) == ["stage-3", "toy"]


def test_an_update_is_no_bundle_and_a_bundle_no_update(shipped: Shipped) -> None:
    with pytest.raises(BundleError, match="is an update and no bundle; apply it with `stpr-update BUNDLE"):
        open_bundle(shipped.delta)
    with pytest.raises(BundleError, match=r"is no update: it has no delta.json. Make one with `stpr-export"):
        stage_of(shipped.new)


def test_the_command_puts_it_beside_the_old_one_and_says_what_next(shipped: Shipped) -> None:
    ran = CliRunner().invoke(update, [str(shipped.old), str(shipped.delta)])
    target = shipped.old.resolve().parent / "stage-3"
    assert ran.exit_code == 0
    assert ran.output.startswith(f"bundle: {target}, stage 3 of toy (")
    assert ran.output.endswith(f"next:   stpr-check {target}\n")
    refused = CliRunner().invoke(update, [str(shipped.old), str(shipped.old)])
    assert (refused.exit_code, refused.output.count("\n")) == (2, 1)
    assert refused.output.startswith("Error: ")
