"""What two files have in common, wherever it lies, and nothing that they don't."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stpr.runtime.contract import matching
from stpr.runtime.contract.matching import BLOCK, GRAIN, Copy, copies


def found(old: bytes, new: bytes, folder: Path) -> tuple[Copy, ...]:
    """The copies, held to what every copy must be."""
    (folder / "old").write_bytes(old)
    (folder / "new").write_bytes(new)
    same, end = copies(folder / "old", folder / "new"), 0
    for one in same:
        assert one.at >= end
        assert one.length > 0
        assert one.at % GRAIN == one.length % GRAIN == 0
        assert new[one.at : one.at + one.length] == old[one.start : one.start + one.length]
        assert one.start + one.length <= len(old)
        end = one.at + one.length
    return same


def noise(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8).tobytes()


def test_parts_that_moved_are_found_to_the_last_number(tmp_path: Path) -> None:
    old, between = noise(5000), noise(700, seed=1)
    new = between[:40] + old[1000:2000] + between[:300] + old[:900] + old[3000:]
    assert found(old, new, tmp_path) == (Copy(40, 1000, 1000), Copy(1340, 0, 900), Copy(2240, 3000, 2000))


def test_numbers_stay_whole_where_parts_begin_between_them(tmp_path: Path) -> None:
    old = noise(1000)
    assert found(old, b"xyz" + old, tmp_path) == (Copy(4, 1, 996),)


def test_files_without_anything_in_common_or_too_short_have_no_copies(tmp_path: Path) -> None:
    for old, new in ((noise(4000), noise(4000, seed=1)), (b"", noise(100)), (noise(100), b""), (b"abc", b"abc")):
        assert found(old, new, tmp_path) == ()


def test_a_number_repeated_is_cheaper_to_bring_than_to_name(tmp_path: Path) -> None:
    zeros, row = b"\0\x64" * 200, noise(300)
    assert found(zeros + row, zeros + noise(300, seed=1) + zeros, tmp_path) == ()
    assert found(zeros + row + zeros, row + zeros, tmp_path) == (Copy(0, len(zeros), len(row + zeros)),)


def test_parts_longer_than_what_is_read_at_once_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "PIECE", 2 * BLOCK)
    old = noise(50 * BLOCK)
    assert found(old, b"1234" + old, tmp_path) == (Copy(4, 0, len(old)),)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=30), st.lists(st.integers(0, 9), max_size=30))
def test_whatever_is_mixed_every_copy_holds(old: list[int], new: list[int]) -> None:
    parts = [noise(37 * (seed + 1), seed) for seed in range(9)] + [b"\0" * 200]
    with tempfile.TemporaryDirectory() as folder:
        found(b"".join(parts[one] for one in old), b"".join(parts[one] for one in new), Path(folder))
