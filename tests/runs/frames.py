"""The frames that the old runs were asked about: a disc that moves another way in each clip."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def frames() -> npt.NDArray[np.uint8]:
    """Six clips `(6, 4, 48, 48, 3)`."""
    clip, time, row, column, colour = np.indices((6, 4, 48, 48, 3))
    disc = (column - 24 - 4 * (clip - 3) * (time - 1.5)) ** 2 + (row - 20) ** 2 < 60
    return (60 + 20 * colour + 120 * disc).astype(np.uint8)
