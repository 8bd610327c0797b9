"""What is free counts, of the machine or of the container's share."""

from __future__ import annotations

from pathlib import Path

import pytest

from stpr.runtime.updates import memory


@pytest.mark.parametrize(
    ("limit", "free"), [("max\n", 4_096_000), ("3000000\n", 2_000_000), (None, 4_096_000), ("9000000\n", 4_096_000)]
)
def test_the_smaller_of_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, free: int) -> None:
    for name in ("MEMINFO", "LIMIT", "USED"):
        monkeypatch.setattr(memory, name, tmp_path / name)
    (tmp_path / "MEMINFO").write_text("MemTotal: 9000 kB\nMemAvailable:    4000 kB\n")
    if limit is not None:
        (tmp_path / "LIMIT").write_text(limit)
        (tmp_path / "USED").write_text("1000000\n")
    assert memory.free_memory() == free


def test_where_nothing_tells_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MEMINFO", "LIMIT", "USED"):
        monkeypatch.setattr(memory, name, tmp_path / name)
    assert memory.free_memory() is None
