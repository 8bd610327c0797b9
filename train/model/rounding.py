"""Round what a stage's update brings to fewer digits; training uses the rounded values, so a bundle is exact."""

from __future__ import annotations

import torch
from torch import Tensor


def rounded(values: Tensor) -> Tensor:
    """Round to 8 significant bits, as bfloat16 has, what half precision holds: a relative error of 0.2 %.

    A bundle stores matrices of such numbers in half precision, and an update compresses them by a third more than that.
    """
    found = values.bfloat16().half().to(values.dtype)
    return torch.where(found.isfinite(), found, values)  # beyond half precision
