"""fp32: the traced graphs unchanged, whose outputs must equal PyTorch's within its own rounding error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from stpr.export.graphs.cut import FILES
from stpr.export.parity.measurements import Measurements, Numbers
from stpr.export.parity.policy import NO_LIMITS, Judgement, agreements, difference, rates
from stpr.export.precisions.variant import Training, Variant, Written

FLOOR: Final = 1e-4  # of the output's largest value
CEILING: Final = 5e-2  # larger differences are not rounding, whatever PyTorch's noise
NOISE_FACTOR: Final = 32  # for another order of summation, and more clips than the noise was measured on


def write(folder: Path, training: Callable[[], Training]) -> Written:
    """Use the traced graphs."""
    del folder, training
    return Written(FILES)


class SameNumbers:
    """All numbers must be within PyTorch's own rounding error, and all its clear decisions must agree."""

    def judge(self, measured: Measurements) -> Judgement:
        """A clip is undecided if its margin is within twice PyTorch's noise, or float64 decides differently."""
        return Judgement(
            differences=tuple(difference(where, one, tolerance(one)) for where, one in measured.numbers.items()),
            agreements=agreements(measured, {where: 2 * one.noise for where, one in measured.numbers.items()}),
            rates=rates(measured, NO_LIMITS),
        )


def tolerance(numbers: Numbers) -> float:
    """The tolerance: 1e-4 of the scale, or NOISE_FACTOR times PyTorch's own noise, at most CEILING."""
    return min(max(FLOOR * numbers.scale, NOISE_FACTOR * numbers.noise), CEILING * numbers.scale)


VARIANT: Final = Variant(write, SameNumbers(), kinds={})
