"""Likeness against the words that define it, and that it holds for people who move every clip alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from stpr.train.model.columns import Columns
from stpr.train.model.directions import unit
from stpr.train.model.scores.likeness import ROOM, UNIT, Likeness, likeness_to_other_classes
from stpr.train.model.scores.samples import Samples
from stpr.train.model.scores.statistics import ClipStatistics
from stpr.train.settings.model import StatisticsSettings

SIZE = 40


def places(classes: int, *, seed: int = 0, size: int = SIZE) -> Tensor:
    """Class means from their middle, in float64."""
    found = torch.randn(classes, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return found - found.mean(dim=0)


def slow(clip: np.ndarray, means: np.ndarray) -> float:
    """Likeness of one clip `(S,)`, by a projection onto the classes' span."""
    basis = np.linalg.svd(means, full_matrices=False)[2][: len(means) - 1]
    inside = basis.T @ (basis @ clip)
    outside = clip - inside
    room = ROOM / max(1, len(clip) - len(means) + 1)
    length = np.sqrt(inside @ inside + room * outside @ outside)
    return float(max(inside @ mean / np.linalg.norm(mean) / length for mean in means)) / UNIT


@pytest.mark.parametrize("classes", [3, 5, 9])
def test_it_is_the_best_cosine_within_what_the_classes_span(classes: int) -> None:
    means, clips = places(classes), torch.randn(7, SIZE, dtype=torch.float64)
    likeness = Likeness(1)
    likeness.refresh([unit(means)])
    found = likeness([clips.float()], [unit(means).float()], torch.ones(1))
    expected = [slow(clip, means.numpy()) for clip in clips.numpy()]
    np.testing.assert_allclose(found, expected, rtol=1e-3)  # spans have eleven bits


def test_views_count_by_their_shares() -> None:
    means = [places(4), places(4, seed=1, size=8)]
    clips = [torch.randn(5, SIZE), torch.randn(5, 8)]
    directions = [unit(rows).float() for rows in means]
    both = Likeness(2)
    both.refresh(directions)
    second = Likeness(1)
    second.refresh(directions[1:])
    alone = second(clips[1:], directions[1:], torch.ones(1))
    torch.testing.assert_close(both(clips, directions, torch.tensor([0.0, 1.0])), alone)


def samples(shift: Tensor | float = 0.0, *, classes: int = 5, clips: int = 12) -> Samples:
    """Clips of classes that differ along the first columns; `shift` moves all of them."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(classes).repeat(clips)
    means = 6 * torch.eye(classes, SIZE)
    features = means[labels][:, None] + 0.5 * torch.randn(len(labels), 2, SIZE, generator=generator)
    return Samples(features + shift, labels, torch.arange(len(labels)))


def learnt(classes: int = 5) -> ClipStatistics:
    settings = StatisticsSettings(
        parts=("mean",), shrinkage=0.1, likelihood="cosine", concentration="learnt", unknown="direction"
    )
    statistics = ClipStatistics(2, Columns(SIZE), settings)
    statistics.update(samples(classes=classes), classes)
    return statistics


def test_a_shift_in_which_classes_do_not_differ_makes_no_stranger_but_a_new_class_is_one() -> None:
    statistics, moved = learnt(), torch.zeros(SIZE)
    moved[30:] = 3.0  # six deviations
    same, shifted = (statistics.familiar(statistics.read(samples(by).features)) for by in (0.0, moved))
    new = torch.zeros(9, 2, SIZE)
    new[:, :, 7] = 6.0
    assert shifted.median() > statistics.familiar(statistics.read(new)).max() + 3
    assert same.median() >= shifted.median()
    by_distance = ClipStatistics(2, Columns(SIZE), StatisticsSettings(parts=("mean",), likelihood="cosine"))
    by_distance.update(samples(), 5)
    assert (
        by_distance.familiar(by_distance.read(samples(moved).features)).max()
        < by_distance.familiar(by_distance.read(samples().features)).min() - 10
    )


def test_clips_of_a_class_left_out_look_as_if_it_had_never_been_learnt() -> None:
    statistics, taught = learnt(), samples()
    for label in range(5):
        own = taught.features[taught.labels == label]
        assert statistics.familiar_to_others(own, label).max() < statistics.familiar(statistics.read(own)).min()
    means, clips = places(4), torch.randn(6, SIZE, dtype=torch.float64)
    found = likeness_to_other_classes([clips + 3], [means + 3], torch.ones(1, dtype=torch.float64))
    np.testing.assert_allclose(found, [slow(clip, means.numpy()) for clip in clips.numpy()], rtol=1e-9)


def test_two_classes_span_too_little_and_go_by_distance() -> None:
    assert not learnt(2).knows_by_direction
    assert learnt(3).knows_by_direction
