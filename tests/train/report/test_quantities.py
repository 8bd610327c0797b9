from __future__ import annotations

import pytest

from stpr.train.report.quantities import duration, percent, size
from stpr.train.run.metrics import UNKNOWN


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2.5e-5, "25.0 µs"), (0.0125, "12.5 ms"), (1, "1.0 s"), (59.94, "59.9 s"), (60, "1 min 0 s"),
        (89.6, "1 min 30 s"), (3599.6, "1 h 0 min"), (3725, "1 h 2 min"), (86399, "23 h 59 min"),
        (90000, "1 d 1 h"), (8640000, "100 d 0 h"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_234_567, "1.2 MB"), (3.45e12, "3450.0 GB")]
)
def test_sizes_in_decimal_units(count: float, text: str) -> None:
    assert size(count) == text


def test_shares_in_per_cent_and_a_dash_for_an_unknown_one() -> None:
    assert (percent(0.98765), percent(-0.002), percent(None)) == ("98.8 %", "-0.2 %", UNKNOWN)
