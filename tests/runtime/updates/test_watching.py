"""Which of the things in a folder are offered, and when."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stpr.runtime.contract.bundle import MANIFEST, Bundle, open_bundle
from stpr.runtime.contract.delta import write_delta
from stpr.runtime.contract.errors import BundleError
from stpr.runtime.updates.watching import Folder
from tests.factories import make_bundle
from tests.runtime.updates.bundles import make_next


@pytest.fixture
def running(tmp_path: Path) -> Bundle:
    return open_bundle(make_bundle(tmp_path / "watched"))


def test_the_running_one_and_what_was_refused_are_passed_over(tmp_path: Path, running: Bundle) -> None:
    new = make_next(running.path, tmp_path / "watched" / "stage-3")
    digest = open_bundle(new).digest
    folder = Folder(tmp_path / "watched")
    assert [folder.newest(running, {digest}) for _ in range(4)] == [None] * 4
    assert folder.newest(running, set()) == new  # forgiven
    assert [found.stage for found in folder.all()] == [2, 3]


def test_each_is_given_once_when_it_has_stopped_changing(tmp_path: Path, running: Bundle) -> None:
    folder, target = Folder(tmp_path / "watched"), tmp_path / "watched" / "stage-3"
    assert folder.newest(running, ()) is None
    make_next(running.path, target)
    assert [folder.newest(running, ()) for _ in range(3)] == [None, target, None]
    (target / "extra.bin").write_bytes(b"copied again")
    assert [folder.newest(running, ()) for _ in range(3)] == [None, target, None]


@pytest.mark.parametrize("later", [False, True])
def test_others_are_offered_only_when_they_are_put_there_now(tmp_path: Path, running: Bundle, later: bool) -> None:
    """A folder of many models is left alone; what somebody puts there now gets an answer."""
    folder = Folder(tmp_path / "watched")
    if later:
        folder.newest(running, ())
    other = make_next(running.path, tmp_path / "watched" / "other" / "stage-3", name="other")
    broken = tmp_path / "watched" / "broken"
    shutil.copytree(other, broken)
    (broken / MANIFEST).write_text("{}")
    folder.newest(running, ())
    assert {folder.newest(running, ()) for _ in range(2)} == ({other, broken} if later else {None})


def test_an_update_waits_for_the_bundle_that_it_is_for(tmp_path: Path, running: Bundle) -> None:
    third = make_next(running.path, tmp_path / "made" / "stage-3")
    fourth = make_next(third, tmp_path / "made" / "stage-4", classes=(*open_bundle(third).manifest.classes,), stage=3)
    update = write_delta(open_bundle(third), open_bundle(fourth), tmp_path / "watched" / "update")
    folder = Folder(tmp_path / "watched")
    assert [folder.newest(running, ()) for _ in range(3)] == [None] * 3
    folder = Folder(tmp_path / "watched")
    folder.newest(running, ())
    assert folder.newest(open_bundle(third), ()) is None  # of the same stage, there from the start
    shutil.move(update, tmp_path / "watched" / "again")
    folder.newest(open_bundle(third), ())
    assert folder.newest(open_bundle(third), ()) == tmp_path / "watched" / "again"


def test_hidden_folders_are_being_written(tmp_path: Path, running: Bundle) -> None:
    make_next(running.path, tmp_path / "watched" / ".stage-3.stpr-part")
    folder = Folder(tmp_path / "watched")
    assert [folder.newest(running, ()) for _ in range(3)] == [None] * 3


def test_there_must_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"there is no folder .*none to watch"):
        Folder(tmp_path / "none")
