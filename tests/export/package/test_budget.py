"""The time of a frame and its window, with a clock of known steps."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace

import pytest

from stpr.export.package import budget
from stpr.runtime.contract.bundle import open_bundle
from stpr.runtime.contract.manifest import GraphName


def test_a_frame_and_its_window_are_added_call_by_call(bundles: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the slow frames are not the slow windows, the sum's 95th percentile is not the sum of the two."""
    calls = budget.WARM + budget.CALLS
    steps = [step for call in range(calls) for step in (1 + call, 0, calls - call, 0)]
    clock = accumulate(steps, initial=0)
    monkeypatch.setattr(budget, "time", SimpleNamespace(perf_counter=lambda: next(clock) / 1000))
    bundle = open_bundle(bundles[0])
    found = budget.latency_here(bundle.path, {name: bundle.graph(name).name for name in GraphName})
    assert found.both == pytest.approx(calls + 1)
    assert found.encoder == pytest.approx(calls - 0.05 * (budget.CALLS - 1))
    assert found.head == pytest.approx(budget.CALLS - 0.05 * (budget.CALLS - 1))
