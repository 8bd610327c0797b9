"""What is allowed at fp32: PyTorch's own rounding, and no decision that PyTorch is sure of may be missed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stpr.export.parity.measurements import Measurements, Numbers, Where
from stpr.export.precisions.fp32 import CEILING, FLOOR, SameNumbers, tolerance

LOGITS, ROUTING = Where("clip", "logits"), Where("clip", "routing")


@given(st.floats(0, 1), st.floats(1e-3, 1e3), st.floats(0, 1))
def test_tolerance_lies_between_its_floor_and_its_ceiling(worst: float, scale: float, noise: float) -> None:
    measured = Measurements()
    measured.numbers[LOGITS] = Numbers(worst=worst, scale=scale, noise=noise)
    (one,) = SameNumbers().judge(measured).differences
    assert (one.part, one.output, one.worst, one.scale, one.noise) == ("clip", "logits", worst, scale, noise)
    assert one.tolerance == tolerance(measured.numbers[LOGITS])
    assert FLOOR * scale <= one.tolerance <= CEILING * scale
    assert one.holds == (worst <= one.tolerance)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_never_holds(bad: float) -> None:
    measured = Measurements()
    measured.compare(LOGITS, np.array([[bad, 1.0]]), np.array([[1.0, 1.0]]))
    measured.compare(LOGITS, np.array([[1.0, 1.0]]), np.array([[1.0, 1.0]]))
    assert not SameNumbers().judge(measured).differences[0].holds


def test_another_shape_never_holds() -> None:
    measured = Measurements()
    measured.compare(LOGITS, np.ones((1, 2)), np.ones((1, 3)))
    assert not SameNumbers().judge(measured).differences[0].holds


@pytest.mark.parametrize(
    ("found", "wanted", "exact", "noise", "undecided", "disagreeing"),
    [
        ([0.9, 0.1], [0.9, 0.1], [0.9, 0.1], 1e-6, 0, 0),
        ([0.1, 0.9], [0.9, 0.1], [0.9, 0.1], 1e-6, 0, 1),
        ([0.1, 0.9], [0.5, 0.5 - 1e-6], [0.5, 0.5 - 1e-6], 1e-6, 1, 0),  # a margin within the noise
        ([0.0, 1.0], [1.0, 0.0], [0.0, 1.0], 1e-6, 1, 0),  # PyTorch's own precisions differ
        ([1.0], [1.0], [1.0], 1e-6, 0, 0),  # one stage: nothing to choose
    ],
)
def test_only_decisions_that_pytorch_itself_holds_can_be_missed(
    found: list[float], wanted: list[float], exact: list[float], noise: float, undecided: int, disagreeing: int
) -> None:
    measured = Measurements()
    measured.add_noise(ROUTING, np.array([[noise]]), np.array([[0.0]]))
    measured.add_choices(ROUTING, np.array([found]), np.array([wanted]), np.array([exact]))
    (agreement,) = SameNumbers().judge(measured).agreements
    assert (agreement.decision, agreement.clips) == ("routing", 1)
    assert (agreement.undecided, agreement.disagreeing) == (undecided, disagreeing)
    assert agreement.holds == (disagreeing == 0)
