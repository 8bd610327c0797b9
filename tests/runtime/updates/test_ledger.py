"""What survives a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from stpr.runtime.contract.errors import BundleError
from stpr.runtime.updates.ledger import LEDGER, Entry, Ledger


def entry(stage: int) -> Entry:
    return Entry(path=f"/bundles/stage-{stage}", digest=f"{stage:064}", stage=stage)


def test_a_roll_back_leads_to_the_last_good_one_and_not_further(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.start(entry(3))
    assert ledger.book.way_back is None
    for stage in (4, 5):
        ledger.put_on_trial(entry(stage))
        assert ledger.book.way_back == entry(stage - 1)
        ledger.mark_good(entry(stage))
        assert ledger.book.way_back == entry(stage - 1)
    ledger.put_on_trial(entry(4))
    ledger.mark_good(entry(4), is_return=True)
    ledger.save()
    assert Ledger(tmp_path).book == ledger.book
    assert (ledger.book.running, ledger.book.way_back) == (entry(4), None)


def test_a_trial_that_is_rolled_back_leaves_the_way_back_as_it_was(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.start(entry(3))
    ledger.mark_good(entry(4))
    ledger.put_on_trial(entry(5))
    ledger.mark_good(entry(4), is_return=True)
    assert (ledger.book.running, ledger.book.way_back) == (entry(4), entry(3))


def test_what_is_asked_for_again_is_forgiven(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.refuse("a", "it differs")
    ledger.refuse("b", "it differs too")
    ledger.forgive("a")
    ledger.save()
    assert Ledger(tmp_path).book.refused == {"b": "it differs too"}


@pytest.mark.parametrize(
    ("content", "why"), [(b"{", "can't be read"), (b'{"schema": 9}', "has schema 9; this runtime reads 1")]
)
def test_a_damaged_one_is_one_line(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / LEDGER).write_bytes(content)
    with pytest.raises(BundleError, match=why):
        Ledger(tmp_path)


def test_a_folder_that_can_not_be_written_is_said_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / LEDGER).mkdir()
    ledger = Ledger(tmp_path)
    ledger.start(entry(3))
    ledger.save()
    assert ledger.book.running == entry(3)
    assert "this update will be lost on a restart" in caplog.text
