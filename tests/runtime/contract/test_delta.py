"""Updates: what an older bundle lacks makes it the new one, byte for byte, or nothing happens at all."""

from __future__ import annotations

import gzip
import os
import resource
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from stpr.runtime.cli import update
from stpr.runtime.contract import delta as module
from stpr.runtime.contract.bundle import DELTA, GOLDEN, MANIFEST, file_entry, open_bundle
from stpr.runtime.contract.delta import apply_delta, bytes_of, target_of, write_delta
from stpr.runtime.contract.errors import BundleError
from stpr.runtime.contract.manifest import ClassEntry, manifest_bytes, read_manifest
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
    with (new / GOLDEN).open("ab") as golden:  # the same pixels, and then what the new stage says of them
        golden.write(b"other answers")
    before = open_bundle(old).manifest
    files = {str(file.relative_to(new)): file_entry(file) for file in sorted(new.rglob("*.*")) if file.name != MANIFEST}
    classes = (*before.classes, ClassEntry(name="spin", stage=3, moves=False))
    manifest = msgspec.structs.replace(before, stage=3, classes=classes, files=files)
    (new / MANIFEST).write_bytes(manifest_bytes(manifest))
    delta = write_delta(open_bundle(old), open_bundle(new), tmp_path / "update-2-to-3")
    return Shipped(old, new, delta)


def test_it_brings_what_is_new_alone_and_gives_the_new_bundle_byte_for_byte(shipped: Shipped, tmp_path: Path) -> None:
    assert sorted(content(shipped.delta)) == sorted([DELTA, MANIFEST, "golden.npz.gz", "weights/expert-3.bin.gz"])
    assert bytes_of(shipped.delta) == sum(map(len, content(shipped.delta).values()))
    assert target_of(shipped.old, shipped.delta) == shipped.old.resolve().parent / "stage-3"
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


def test_what_a_file_begins_with_as_in_the_old_bundle_is_not_brought_again(shipped: Shipped) -> None:
    told = msgspec.json.decode((shipped.delta / DELTA).read_bytes())
    same = (shipped.old / GOLDEN).stat().st_size // 4 * 4
    assert told["copies"] == {GOLDEN: [[0, 0, same]]}
    rest = (shipped.new / GOLDEN).read_bytes()[same:]
    assert gzip.decompress((shipped.delta / f"{GOLDEN}.gz").read_bytes()) == rest
    assert len(rest) < 20


def as_before_copies(delta: Path, new: Path) -> dict[str, Any]:
    """What an update of schema 3 says, which copied only what a file begins with."""
    told: dict[str, Any] = msgspec.json.decode((delta / DELTA).read_bytes())
    ((at, _, kept),) = told.pop("copies")[GOLDEN]
    assert at == 0
    (delta / f"{GOLDEN}.gz").write_bytes(gzip.compress((new / GOLDEN).read_bytes()[kept:]))
    return {**told, "schema": 3, "kept": {GOLDEN: kept}}


def test_an_update_of_schema_3_which_copies_only_beginnings_is_applied(shipped: Shipped, tmp_path: Path) -> None:
    (shipped.delta / DELTA).write_bytes(msgspec.json.encode(as_before_copies(shipped.delta, shipped.new)))
    target = tmp_path / "device" / "stage-3"
    apply_delta(open_bundle(shipped.old), shipped.delta, target)
    assert content(target) == content(shipped.new)


def test_parts_of_a_file_that_moved_are_copied_and_not_brought(shipped: Shipped, tmp_path: Path) -> None:
    parts = [np.random.default_rng(seed).bytes(size) for seed, size in enumerate((3000, 5000, 1000))]
    for folder, order in ((shipped.old, (0, 1)), (shipped.new, (1, 2, 0))):
        (folder / "weights").mkdir(exist_ok=True)
        file = folder / "weights" / "stage.bin"
        file.write_bytes(b"".join(parts[one] for one in order))
        files = read_manifest((folder / MANIFEST).read_bytes(), "").manifest.files
        resealed(folder, files=files | {"weights/stage.bin": file_entry(file)})
    delta = write_delta(open_bundle(shipped.old), open_bundle(shipped.new), tmp_path / "update")
    told = msgspec.json.decode((delta / DELTA).read_bytes())
    assert told["copies"]["weights/stage.bin"] == [[0, 3000, 5000], [6000, 0, 3000]]
    assert gzip.decompress((delta / "weights" / "stage.bin.gz").read_bytes()) == parts[2]
    target = tmp_path / "device" / "stage-3"
    apply_delta(open_bundle(shipped.old), delta, target)
    assert content(target) == content(shipped.new)


@pytest.mark.parametrize(
    "copies", [[[0, 0, 1]], [[0, 1 << 40, 9000]], [[8000, 0, 3000], [0, 0, 3000]], [[1 << 50, 0, 1]], [[0, 0, 1 << 61]]]
)
def test_copies_that_are_not_those_of_the_bundle_are_refused(
    copies: list[list[int]], shipped: Shipped, tmp_path: Path
) -> None:
    told = msgspec.json.decode((shipped.delta / DELTA).read_bytes())
    (shipped.delta / DELTA).write_bytes(msgspec.json.encode({**told, "copies": {GOLDEN: copies}}))
    with pytest.raises(BundleError, match=r"does not hold the golden\.npz that was exported; copy the update again"):
        apply_delta(open_bundle(shipped.old), shipped.delta, tmp_path / "stage-3")
    assert not (tmp_path / "stage-3").exists()


def test_the_same_bundles_give_the_same_update(shipped: Shipped, tmp_path: Path) -> None:
    again = write_delta(open_bundle(shipped.old), open_bundle(shipped.new), tmp_path / "again")
    assert content(again) == content(shipped.delta)


def test_an_update_of_schema_1_which_brings_its_files_as_they_are_is_applied(shipped: Shipped, tmp_path: Path) -> None:
    for name in ("weights/expert-3.bin", GOLDEN):
        (shipped.delta / f"{name}.gz").unlink()
        shutil.copyfile(shipped.new / name, shipped.delta / name)
    told = msgspec.json.decode((shipped.delta / DELTA).read_bytes())
    del told["copies"]
    (shipped.delta / DELTA).write_bytes(msgspec.json.encode({**told, "schema": 1}))
    target = tmp_path / "device" / "stage-3"
    apply_delta(open_bundle(shipped.old), shipped.delta, target)
    assert content(target) == content(shipped.new)


def test_an_update_of_schema_2_which_knows_no_planes_is_applied(shipped: Shipped, tmp_path: Path) -> None:
    told = as_before_copies(shipped.delta, shipped.new)
    assert told.pop("planes") == {}  # noise has none
    (shipped.delta / DELTA).write_bytes(msgspec.json.encode({**told, "schema": 2}))
    target = tmp_path / "device" / "stage-3"
    apply_delta(open_bundle(shipped.old), shipped.delta, target)
    assert content(target) == content(shipped.new)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("count", [3, 200_001, 700_003])  # less than a number, a piece, and more than one
def test_weights_come_in_planes_which_are_smaller(kind: Any, count: int, shipped: Shipped, tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=count).astype(kind).tobytes()
    (shipped.new / "weights" / "expert-3.bin").write_bytes(weights)
    entry = {"weights/expert-3.bin": file_entry(shipped.new / "weights" / "expert-3.bin")}
    files = read_manifest((shipped.new / MANIFEST).read_bytes(), "").manifest.files
    resealed(shipped.new, files=files | entry)
    delta = write_delta(open_bundle(shipped.old), open_bundle(shipped.new), tmp_path / "update")
    told = msgspec.json.decode((delta / DELTA).read_bytes())
    assert told["planes"] == ({} if count == 3 else {"weights/expert-3.bin": 4})
    packed = (delta / "weights" / "expert-3.bin.gz").stat().st_size
    assert count == 3 or packed < 0.95 * len(gzip.compress(weights))
    target = tmp_path / "device" / "stage-3"
    apply_delta(open_bundle(shipped.old), delta, target)
    assert content(target) == content(shipped.new)


def test_an_update_of_a_newer_schema_is_refused_whatever_else_it_says(shipped: Shipped, tmp_path: Path) -> None:
    told = msgspec.json.decode((shipped.delta / DELTA).read_bytes())
    (shipped.delta / DELTA).write_bytes(msgspec.json.encode({**told, "schema": 5, "more": []}))
    with pytest.raises(BundleError, match=r"delta.json has schema 5; this runtime reads 4. Upgrade stpr here"):
        apply_delta(open_bundle(shipped.old), shipped.delta, tmp_path / "stage-3")


def said_with_files_of_at_most(size: int, shipped: Shipped, target: Path) -> str:
    """What refuses an update where no file may be larger; "" where nothing does."""
    said, tell = os.pipe()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        try:
            apply_delta(open_bundle(shipped.old), shipped.delta, target)
        except BundleError as error:
            os.write(tell, error.message.encode())
        os._exit(0)
    os.close(tell)
    with os.fdopen(said, encoding="utf-8") as told:
        message = told.read()
    assert os.waitpid(child, 0)[1] == 0
    return message


def test_a_few_bytes_that_unpack_to_more_than_the_file_are_not_written(shipped: Shipped, tmp_path: Path) -> None:
    (shipped.delta / "weights" / "expert-3.bin.gz").write_bytes(gzip.compress(bytes(50_000_000)))
    message = said_with_files_of_at_most(1_000_000, shipped, tmp_path / "device" / "stage-3")
    assert message.endswith("expert-3.bin.gz does not hold the expert-3.bin that was exported; copy the update again.")


@pytest.mark.parametrize("cut", ["weights/expert-3.bin.gz", f"{GOLDEN}.gz", MANIFEST, DELTA])
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
    assert "again" in caught.value.message or "is not an update" in caught.value.message
    assert [path.name for path in (tmp_path / "device").iterdir()] == ["toy"]
    open_bundle(shipped.old)


def test_another_base_is_refused_by_name(shipped: Shipped, tmp_path: Path) -> None:
    other = open_bundle(make_bundle(tmp_path / "other", temperature=0.5))
    with pytest.raises(
        BundleError, match=r"updates toy stage 2 in fp32 \(\w{12}…\), .* is toy stage 2 in fp32 .* made for"
    ):
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
        left = killed_at

        def dying(write: Callable[..., None]) -> Callable[..., None]:
            def last(*arguments: object) -> None:
                nonlocal left
                if left == 0:
                    os._exit(9)
                left -= 1
                write(*arguments)

            return last

        vars(module).update({name: dying(getattr(module, name)) for name in ("_copy", "_bring")})
        apply_delta(open_bundle(shipped.old), shipped.delta, target)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == (9 if killed_at <= started else 0)
    open_bundle(shipped.old)
    assert apply_delta(open_bundle(shipped.old), shipped.delta, target).digest == open_bundle(shipped.new).digest
    assert sorted(path.name for path in target.parent.iterdir()) == ["stage-3", "toy"]


def test_a_disk_that_fills_up_leaves_the_old_bundle_and_nothing_else(shipped: Shipped, tmp_path: Path) -> None:
    target = tmp_path / "device" / "stage-3"
    message = said_with_files_of_at_most(2000, shipped, target)  # the new expert has 4000 bytes
    assert (
        message
        == f"no space left for {target} (File too large): it needs about 0.0 MB; free some, or choose another folder."
    )
    assert [path.name for path in (tmp_path / "device").iterdir()] == ["toy"]
    open_bundle(shipped.old)
    apply_delta(open_bundle(shipped.old), shipped.delta, target)


def resealed(folder: Path, **changes: object) -> Path:
    """The same bundle with something else in its manifest."""
    old = read_manifest((folder / MANIFEST).read_bytes(), str(folder)).manifest
    manifest = msgspec.structs.replace(old, **changes)
    (folder / MANIFEST).write_bytes(manifest_bytes(manifest))
    return folder


def in_half(folder: Path) -> Path:
    """A bundle that calls itself fp16."""
    before = open_bundle(folder).manifest
    graphs = {
        name: msgspec.structs.replace(graph, variants={"fp16": graph.variants["fp32"]})
        for name, graph in before.graphs.items()
    }
    return resealed(folder, precision="fp16", graphs=graphs, parity={"fp16": before.parity["fp32"]})


def test_an_update_of_half_precision_goes_to_a_folder_of_its_own_beside_full_precision(
    shipped: Shipped, tmp_path: Path
) -> None:
    old, new = in_half(shipped.old), in_half(shipped.new)
    other = shutil.copytree(tmp_path / "server", tmp_path / "full") / "stage-3"
    (old.parent / "stage-3").mkdir()  # full precision lies there already
    delta = write_delta(open_bundle(old), open_bundle(new), tmp_path / "update-2-to-3-fp16")
    ran = CliRunner().invoke(update, [str(old), str(delta)])
    assert ran.exit_code == 0
    assert content(old.parent / "stage-3-fp16") == content(new) == content(other)


def test_no_update_leads_from_another_run_precision_or_a_later_stage(shipped: Shipped, tmp_path: Path) -> None:
    old, new, place = open_bundle(shipped.old), open_bundle(shipped.new), tmp_path / "update"
    with pytest.raises(BundleError, match=r"is toy stage 3 in fp32, which can't be updated to toy stage 2 in"):
        write_delta(new, old, place)
    renamed = open_bundle(resealed(shutil.copytree(shipped.new, tmp_path / "other"), name="other"))
    with pytest.raises(BundleError, match=r"to other stage 3 in fp32: .* with --since, or ship the whole new one"):
        write_delta(old, renamed, place)
    with pytest.raises(BundleError, match=r"is toy stage 2 in fp32, .* to toy stage 3 in fp16"):
        write_delta(old, open_bundle(in_half(shipped.new)), place)
    assert not place.exists()


def test_an_update_is_no_bundle_and_a_bundle_no_update(shipped: Shipped) -> None:
    with pytest.raises(BundleError, match="is an update, not a bundle; apply it with `stpr-update BUNDLE"):
        open_bundle(shipped.delta)
    with pytest.raises(BundleError, match=r"is not an update: it has no delta.json. Make one with `stpr-export"):
        target_of(shipped.old, shipped.new)


def test_the_command_puts_it_beside_the_old_one_and_says_what_next(shipped: Shipped) -> None:
    ran = CliRunner().invoke(update, [str(shipped.old), str(shipped.delta)])
    target = shipped.old.resolve().parent / "stage-3"
    assert ran.exit_code == 0
    assert ran.output.startswith(f"bundle: {target}, stage 3 of toy (")
    assert ran.output.endswith(f"next:   stpr-check {target}\n")
    refused = CliRunner().invoke(update, [str(shipped.old), str(shipped.old)])
    assert (refused.exit_code, refused.output.count("\n")) == (2, 1)
    assert refused.output.startswith("Error: ")
