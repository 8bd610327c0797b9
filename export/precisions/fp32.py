"""fp32: the traced graphs as they are, which must give PyTorch's numbers up to PyTorch's own rounding error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from stpr.export.graphs.cut import FILES
from stpr.export.parity.measurements import Measurements, Numbers
from stpr.export.parity.policy import NO_LIMITS, Judgement, agreements, difference, rates
from stpr.export.precisions.variant import Training, Variant, Written

FLOOR: Final = 1e-4  # of the output's largest value
CEILING: Final = 5e-2  # more than that is no rounding, whatever PyTorch's own noise
NOISE_FACTOR: Final = 32  # another order of summation, and many more clips than the noise was measured on


def write(folder: Path, training: Callable[[], Training]) -> Written:
    """The traced graphs themselves."""
    del folder, training
    return Written(FILES)


class SameNumbers:
    """Every number within PyTorch's own rounding, and every decision that PyTorch itself is sure of."""

    def judge(self, measured: Measurements) -> Judgement:
        """A clip is undecided where its margin is within twice PyTorch's noise, or its float64 chooses differently."""
        return Judgement(
            differences=tuple(difference(where, one, tolerance(one)) for where, one in measured.numbers.items()),
            agreements=agreements(measured, {where: 2 * one.noise for where, one in measured.numbers.items()}),
            rates=rates(measured, NO_LIMITS),
        )


def tolerance(numbers: Numbers) -> float:
    """What may be off: a ten-thousandth of the scale, or several times PyTorch's own noise."""
    return min(max(FLOOR * numbers.scale, NOISE_FACTOR * numbers.noise), CEILING * numbers.scale)


VARIANT: Final = Variant(write, SameNumbers(), kinds={})
