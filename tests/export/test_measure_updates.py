"""tools/measure_updates.py carries on to stage 50 what grows by the same at each stage."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from stpr.runtime.contract.bundle import open_bundle
from stpr.runtime.contract.delta import write_delta

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools/measure_updates.py"))


def test_what_grows_by_the_same_is_carried_on_to_stage_50() -> None:
    ahead = TOOL["_ahead"]({2: [0.5, 10.0], 3: [0.5, 11.5], 4: [0.5, 12.0]})
    assert list(ahead) == list(range(5, 51))
    assert ahead[5] == pytest.approx([0.5, 13.0])
    assert ahead[50] == pytest.approx([0.5, 58.0])


def test_a_single_update_tells_nothing_of_those_ahead() -> None:
    assert TOOL["_ahead"]({2: [0.5, 10.0]}) == {}


def test_measured_and_projected_are_drawn(tmp_path: Path) -> None:
    rows = {2: [0.7, 0.2, 0.0, 0.1, 1.0, 12.0], 3: [0.7, 0.2, 0.0, 0.1, 1.0, 12.3]}
    TOOL["_draw"](rows, TOOL["_ahead"](rows), tmp_path / "updates.png")
    assert (tmp_path / "updates.png").read_bytes().startswith(b"\x89PNG")


def test_the_tensors_of_an_update_are_listed_with_their_bytes(bundles: list[Path], tmp_path: Path) -> None:
    old, new = map(open_bundle, bundles[-2:])
    rows = [*TOOL["_tensors"](write_delta(old, new, tmp_path / "update"), new.path)]
    names = {name for name, *_ in rows}
    assert {"adapter", "expert", "class vectors"} <= names
    assert not any("backbone" in name or "projection" in name for name in names)
    held = sum((new.path / name).stat().st_size for name in ("weights/stage.bin", "weights/expert-3.bin"))
    assert 0.9 * held < sum(size for _, _, size, _ in rows) <= held  # files are padded
    assert all(0 < packed < 4 * size + 64 for _, _, size, packed in rows)
