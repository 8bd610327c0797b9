"""The least energy of each class: one number a class, learnt from its own training clips, which are then gone."""

from __future__ import annotations

from typing import Final

import numpy as np
from torch import Tensor

from stpr.runtime.contract.energy import energy
from stpr.train.run.open_set import lower_bound

RECALL: Final = 0.99  # of a class's own clips: this is about stillness, what is unfamiliar has its own threshold
TINY: Final = 1e-12  # clips of one picture have no energy at all, and its logarithm no number


def energy_floors(features: Tensor, labels: Tensor, classes: int) -> tuple[float | None, ...]:
    """What the energy of another clip exceeds with probability RECALL, for each of a stage's classes.

    `features` `(n, T, D)` are frame features of clips, `labels` `(n,)` count from 0 within the stage. Energies are
    log-normal, so a few clips suffice; None where there are too few even so.
    """
    found = np.log(np.maximum(energy(features.cpu().numpy()), TINY))
    own = labels.cpu().numpy()
    bounds = [lower_bound(found[own == label], RECALL) for label in range(classes)]
    return tuple(None if bound is None else float(np.exp(bound)) for bound in bounds)
