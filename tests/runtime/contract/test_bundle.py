from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from stpr.runtime.contract.bundle import GOLDEN, MANIFEST, new_bundle_folder, newest_bundle, open_bundle
from stpr.runtime.contract.durable import locked
from stpr.runtime.contract.errors import BundleError
from stpr.runtime.contract.manifest import FileEntry, GraphName, manifest_bytes, read_manifest
from tests.factories import MOTION, make_bundle, make_manifest

FILES = ("encoder.onnx", "head.onnx", "clip.onnx", "golden.npz", "parity.json", MANIFEST)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundles"))


def test_a_whole_bundle_opens(bundle: Path) -> None:
    opened = open_bundle(bundle)
    assert set(opened.manifest.files) == set(FILES) - {MANIFEST}
    assert opened.digest == read_manifest(manifest_bytes(opened.manifest), "again").digest
    assert opened.graph(GraphName.HEAD) == bundle / "head.onnx"
    golden = opened.golden()
    assert golden.frames.dtype == np.uint8
    assert golden.features.shape[:2] == golden.frames.shape[:2]
    assert (golden.greys, golden.evidence) == (None, None)
    assert list(golden.feeds) == ["frames"]


def test_a_file_of_a_bundle_and_a_folder_of_bundles_are_told_which_one_is_meant(bundle: Path) -> None:
    for named in (bundle / "head.onnx", bundle.parent, bundle.parent.parent):
        with pytest.raises(BundleError, match=rf"is not a bundle: .* Did you mean {bundle}\?"):
            open_bundle(named)


def test_a_bundle_that_sees_motion_has_the_golden_clips_pairs(tmp_path: Path) -> None:
    golden = open_bundle(make_bundle(tmp_path, motion=MOTION)).golden()
    assert golden.greys is not None
    assert golden.greys.dtype == np.uint8
    assert golden.greys.shape[2:] == (MOTION.pairs, 2, MOTION.side, MOTION.side)
    assert list(golden.feeds) == ["frames", "greys"]


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_of_any_file_is_noticed(bundle: Path, name: str) -> None:
    file = bundle / name
    whole = file.read_bytes()
    try:
        for position in {0, len(whole) - 1, *range(0, len(whole), max(1, len(whole) // 40))}:
            changed = bytearray(whole)
            changed[position] ^= 0x20
            file.write_bytes(changed)
            with pytest.raises(BundleError, match=name.replace(".", r"\.")):
                open_bundle(bundle)
    finally:
        file.write_bytes(whole)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_cut_file_is_named(tmp_path: Path, name: str) -> None:
    path = make_bundle(tmp_path)
    whole = (path / name).read_bytes()
    (path / name).write_bytes(whole[:-1])
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        open_bundle(path)
    (path / name).unlink()
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        open_bundle(path)


@pytest.mark.parametrize("outside", ["../secret", "/etc/hostname"])
def test_files_outside_the_bundle_are_never_read(tmp_path: Path, outside: str) -> None:
    files = make_manifest().files | {outside: FileEntry(bytes=1, sha256="0" * 64)}
    (tmp_path / MANIFEST).write_bytes(manifest_bytes(make_manifest(files=dict(sorted(files.items())))))
    with pytest.raises(BundleError, match=r"outside the bundle|is missing") as caught:
        open_bundle(tmp_path)
    assert "outside the bundle" in str(caught.value)


def test_files_that_are_links_are_judged_by_their_digests(bundle: Path, tmp_path: Path) -> None:
    """As a hub's cache and data version control lay a folder out."""
    linked, store = tmp_path / "bundle", tmp_path / "store"
    linked.mkdir()
    store.mkdir()
    for number, file in enumerate(sorted(bundle.iterdir())):
        shutil.copy(file, store / str(number))
        (linked / file.name).symlink_to(store / str(number))
    assert open_bundle(linked).digest == open_bundle(bundle).digest
    target = (linked / "head.onnx").resolve()
    target.write_bytes(target.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"head\.onnx is not the file that was exported"):
        open_bundle(linked)


def test_a_manifest_means_the_bundle_that_it_lies_in(bundle: Path) -> None:
    assert open_bundle(bundle / MANIFEST).path == bundle


def test_a_golden_file_without_a_clip_is_refused(bundle: Path, tmp_path: Path) -> None:
    del bundle
    path = make_bundle(tmp_path)
    opened = open_bundle(path)
    np.savez(path / GOLDEN, frames=np.zeros(1))
    with pytest.raises(BundleError, match="holds no golden clip"):
        opened.golden()


def test_the_newest_bundle_is_the_one_written_last(tmp_path: Path) -> None:
    old, new = make_bundle(tmp_path / "a").parent, make_bundle(tmp_path / "b").parent
    root = tmp_path / "bundles"
    root.mkdir()
    old, new = old.rename(root / "old"), new.rename(root / "new")
    os.utime(old / "stage-2" / MANIFEST, ns=(1, 1))
    assert newest_bundle(root) == new / "stage-2"


def test_no_bundle_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no bundle under .*stpr-export --stage N.*--bundle DIR"):
        newest_bundle(tmp_path)
    with pytest.raises(BundleError, match=r"is not a bundle: it has no manifest\.json"):
        open_bundle(tmp_path)


def test_a_bundle_is_replaced_when_the_new_one_is_complete(tmp_path: Path) -> None:
    target = make_bundle(tmp_path / "made")
    new = make_bundle(tmp_path / "other", name="new")
    with new_bundle_folder(target, needs=1) as folder:
        for file in FILES:
            (folder / file).write_bytes((new / file).read_bytes())
            assert open_bundle(target).manifest.name == "toy"
    assert open_bundle(target).manifest.name == "new"
    assert list(target.parent.iterdir()) == [target]


def test_what_keeps_a_bundle_from_being_written_is_said_with_the_way_out(tmp_path: Path) -> None:
    target = tmp_path / "toy" / "stage-2"
    with pytest.raises(
        BundleError, match=r"no space left for .*stage-2 .*needs about 1000000000000\.0 MB; free some, or"
    ):
        fill(target, needs=10**18)
    with (
        locked(target),
        pytest.raises(BundleError, match=r"stage-2 is in use: process \d+ on .* until it has ended, or"),
    ):
        fill(target, needs=1)
    target.write_text("a file")
    with pytest.raises(
        BundleError, match=r"stage-2 can't be written \(.*\); check the path .*, or choose another folder"
    ):
        fill(target, needs=1)
    assert target.read_text() == "a file"


def fill(target: Path, *, needs: int) -> None:
    with new_bundle_folder(target, needs=needs) as folder:
        (folder / MANIFEST).write_text("never in place")
