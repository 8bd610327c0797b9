"""Figures over many batches are those over all clips at once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stpr.export.parity.measurements import Measurements, Where

WHERE = Where("clip", "logits")


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_batches_add_up(seed: int, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    batches = [rng.normal(size=(3, size, 5)) for size in sizes]
    measured = Measurements()
    for found, wanted, exact in batches:
        measured.compare(WHERE, found, wanted)
        measured.add_noise(WHERE, wanted, exact)
        measured.add_choices(WHERE, found, wanted, exact)
    found, wanted, exact = np.concatenate(batches, axis=1)
    numbers, choices = measured.numbers[WHERE], measured.choices[WHERE]
    assert numbers.worst == np.abs(found - wanted).max(initial=0.0)
    assert numbers.noise == np.abs(exact - wanted).max(initial=0.0)
    assert numbers.scale == np.abs(wanted).max(initial=0.0)
    assert len(choices.same) == len(choices.margin) == len(choices.stable) == sum(sizes)
    for row in range(sum(sizes)):
        first, second = sorted(wanted[row])[:-3:-1]
        assert choices.margin[row] == first - second
        assert choices.same[row] == (list(found[row]).index(max(found[row])) == list(wanted[row]).index(first))
        assert choices.stable[row] == (list(exact[row]).index(max(exact[row])) == list(wanted[row]).index(first))
