"""Numbers of few digits that half precision holds."""

from __future__ import annotations

import torch

from stpr.train.model.rounding import rounded


def test_rounded_numbers_are_near_and_half_precision_holds_them() -> None:
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    found = rounded(values)
    assert found.dtype == torch.float32
    assert torch.equal(found, found.half().float())
    assert torch.equal(rounded(found), found)
    assert 0 < float(((found - values) / values).abs().max()) < 2**-8
    # Eight significant bits: the last three of half precision's mantissa are not used.
    assert not (found.half().view(torch.int16) & 7).any()
