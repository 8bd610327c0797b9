"""Wrong labels among training clips: found by their neighbours, and little else with them."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from stpr.train.run.suspects import FEWEST, doubtful


def clusters(sizes: list[int], *, spread: float = 0.2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Points `(n, S)` of unit length around a middle for each class, and their classes `(n,)`."""
    generator = torch.Generator().manual_seed(seed)
    middles = F.normalize(torch.randn(len(sizes), 16, generator=generator), dim=1)
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return F.normalize(middles[labels] + spread * torch.randn(len(labels), 16, generator=generator) / 4, dim=1), labels


def test_swapped_labels_are_found_and_no_others() -> None:
    described, labels = clusters([12, 9, 7])
    assert doubtful(described, labels) == []
    swapped = labels.clone()
    swapped[[3, 20]] = torch.tensor([2, 0])
    assert sorted(doubtful(described, swapped)) == [(3, 0), (20, 1)]


def test_small_classes_are_enough() -> None:
    described, labels = clusters([5, 6, 7])
    swapped = labels.clone()
    swapped[0] = 1  # four of its kind are left
    assert doubtful(described, swapped) == [(0, 0)]


def test_the_clearest_comes_first() -> None:
    described, labels = clusters([12, 12])
    described[0] = F.normalize(described[0] + 0.8 * torch.randn(16, generator=torch.Generator().manual_seed(3)), dim=0)
    swapped = labels.clone()
    swapped[[0, 1]] = 1
    assert [row for row, _ in doubtful(described, swapped)] == [1, 0]


def test_where_neighbours_are_of_several_classes_nothing_is_said() -> None:
    noise = F.normalize(torch.randn(400, 64, generator=torch.Generator().manual_seed(0)), dim=1)
    assert len(doubtful(noise, torch.arange(400) % 4)) < 12


def test_too_few_clips_tell_nothing() -> None:
    described, labels = clusters([12, FEWEST - 1])
    swapped = labels.clone()
    swapped[0] = 1  # so that the small class has FEWEST, and one of them does not belong to it
    assert doubtful(described, swapped) == [(0, 0)]
    assert doubtful(described[1:], labels[1:]) == []
    assert doubtful(*clusters([9])) == []
