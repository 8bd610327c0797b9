"""A bundle's folder is there whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stpr.export.folder import whole_or_nothing
from stpr.runtime.contract.errors import BundleError


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting needs root")
    yield disk
    subprocess.run(["umount", disk], check=True)


def everything_under(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def write_half(target: Path, interruption: type[BaseException]) -> None:
    with whole_or_nothing(target, needs=1) as part:
        (part / "file").write_text("new")
        raise interruption("stop")


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "run" / "stage-1"
    with whole_or_nothing(target, needs=1) as part:
        (part / "file").write_text("new")
        assert not target.exists()
    assert everything_under(tmp_path) == ["run", "run/stage-1", "run/stage-1/file"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_leaves_the_old_folder(tmp_path: Path, interruption: type[BaseException]) -> None:
    target = tmp_path / "stage-1"
    target.mkdir()
    (target / "file").write_text("old")
    with pytest.raises(interruption, match="stop"):
        write_half(target, interruption)
    assert (target / "file").read_text() == "old"
    assert everything_under(tmp_path) == ["stage-1", "stage-1/file"]


def test_a_new_folder_replaces_the_old_one_entirely(tmp_path: Path) -> None:
    target = tmp_path / "stage-1"
    target.mkdir()
    (target / "left over").write_text("old")
    with whole_or_nothing(target, needs=1) as part:
        (part / "file").write_text("new")
    assert everything_under(tmp_path) == ["stage-1", "stage-1/file"]


def test_what_a_killed_export_left_is_cleared_and_the_folder_it_moved_aside_is_put_back(tmp_path: Path) -> None:
    target = tmp_path / "stage-1"
    for name in (".stage-1.part", ".stage-1.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name[1:]).write_text("")
    with pytest.raises(RuntimeError, match="stop"):
        write_half(target, RuntimeError)
    assert everything_under(tmp_path) == ["stage-1", "stage-1/stage-1.old"]


def test_no_room_is_said_before_the_work(small_disk: Path) -> None:
    with (
        pytest.raises(BundleError, match=r"no space left for .*stage-1 .*needs about 5\.0 MB; free some, or .*--out"),
        whole_or_nothing(small_disk / "stage-1", needs=5_000_000),
    ):
        pytest.fail("the block must not run")
    assert everything_under(small_disk) == []


def test_a_disk_that_fills_up_leaves_nothing(small_disk: Path) -> None:
    with (
        pytest.raises(BundleError, match=r"no space left for .*stage-1 \(No space left on device\)"),
        whole_or_nothing(small_disk / "run" / "stage-1", needs=1) as part,
    ):
        (part / "file").write_bytes(bytes(2_000_000))
    assert everything_under(small_disk) == ["run"]


def test_a_limit_on_file_sizes_leaves_nothing(tmp_path: Path) -> None:
    script = """
import resource, sys
from pathlib import Path
from stpr.export.folder import whole_or_nothing
from stpr.runtime.contract.errors import BundleError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with whole_or_nothing(Path(sys.argv[1]), needs=1) as part:
        (part / "file").write_bytes(bytes(2000))
except BundleError as error:
    print(error)
"""
    run = [sys.executable, "-c", script, str(tmp_path / "stage-1")]
    told = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert told.startswith(f"no space left for {tmp_path / 'stage-1'} (File too large)")
    assert everything_under(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with (
        pytest.raises(BundleError, match=r"stage-1 can't be written .*permission"),
        whole_or_nothing(tmp_path / "stage-1", needs=1),
    ):
        pytest.fail("the block must not run")


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with (
        pytest.raises(BundleError, match=r"run/stage-1 can't be written \(.*\); check the path"),
        whole_or_nothing(tmp_path / "run" / "stage-1", needs=1),
    ):
        pytest.fail("the block must not run")
