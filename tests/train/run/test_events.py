from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stpr.train.model.columns import Columns
from stpr.train.model.scores.description import Description
from stpr.train.run.events import energy_floors
from stpr.train.settings.model import StatisticsSettings

energy = Description(8, Columns(6), StatisticsSettings()).energy


def moving(count: int, amount: float, seed: int) -> Tensor:
    """Clips `(n, 8, 6)` that move by about `amount`, some half as much and some twice."""
    rng = np.random.default_rng(seed)
    sizes = amount * np.exp(rng.normal(0, 0.3, (count, 1, 1)))
    return torch.tensor(5 + sizes * rng.normal(size=(count, 8, 6)), dtype=torch.float32)


def test_other_clips_of_a_class_keep_above_its_floor_and_still_ones_below() -> None:
    for count in (5, 100):
        kept = []
        for seed in range(40):
            clips = torch.cat([moving(count, 1.0, seed), moving(count, 0.05, 100 + seed)])
            lively, calm = energy_floors(energy(clips), torch.arange(2).repeat_interleave(count), 2)
            kept.append(float((energy(moving(200, 1.0, 200 + seed)) >= lively).float().mean()))
            assert (energy(moving(200, 0.05, 300 + seed)) < lively).float().mean() > (0.5 if count == 5 else 0.99)
            assert calm < 0.05
        assert 0.97 < np.mean(kept) <= 1


def test_too_few_clips_set_no_floor_and_pictures_set_a_low_one() -> None:
    clips = torch.cat([moving(2, 1.0, 0), torch.ones(4, 8, 6)])
    floors = energy_floors(energy(clips), torch.tensor([0, 0, 1, 1, 1, 1]), 2)
    assert floors[0] == 0
    assert 0 <= floors[1] < 1e-6
