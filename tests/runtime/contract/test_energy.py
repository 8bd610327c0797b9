from __future__ import annotations

import math

import numpy as np
import pytest

from stpr.runtime.contract.energy import EnergySpec, energy
from stpr.runtime.contract.errors import ContractError


def test_energy_is_what_happens_around_the_mean() -> None:
    clip = np.array([[5.0, 1.0], [7.0, 1.0]], np.float32)  # one of two features goes from -1 to 1
    assert energy(clip) == pytest.approx(math.sqrt(0.5))
    np.testing.assert_allclose(energy(np.stack([clip, 3 * clip, np.ones_like(clip)])), [0.5**0.5, 3 * 0.5**0.5, 0])


def test_where_a_clip_lies_does_not_matter() -> None:
    clip = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
    assert energy(clip + np.float32(1000)) == pytest.approx(float(energy(clip)), rel=1e-4)


def test_each_class_has_its_own_floor() -> None:
    spec = EnergySpec(recall=0.99, floors=(0.5, 0.0, None))
    assert [spec.is_too_still(label, 0.4) for label in range(3)] == [True, False, False]
    assert not spec.is_too_still(0, 0.5)


@pytest.mark.parametrize("floor", [-0.1, math.nan, math.inf])
def test_floors_that_are_no_energies_are_refused(floor: float) -> None:
    with pytest.raises(ContractError, match=r"energy floors must be 0 or more, got \[0\.5, "):
        EnergySpec(recall=0.99, floors=(0.5, floor))
