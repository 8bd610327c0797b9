"""Correlations of channels over a picture: what they are, what they do not depend on, and how axes are learnt."""

from __future__ import annotations

import pytest
import torch

from stpr.train.model.correlations import Correlations

CHANNELS, AXES = 6, 4


@pytest.fixture
def part() -> Correlations:
    torch.manual_seed(0)
    made = Correlations(CHANNELS, AXES)
    made.fit(made.covariance(torch.randn(8, CHANNELS, 5, 7) * torch.arange(1, CHANNELS + 1)[:, None, None]))
    return made


def test_they_are_the_correlations_of_the_axes(part: Correlations) -> None:
    state = torch.randn(3, CHANNELS, 5, 7)
    found = part(state)
    assert found.shape == (3, part.width) == (3, AXES * (AXES - 1) // 2)
    for row, picture in zip(found, state, strict=True):
        matrix = torch.corrcoef(part.axes.T @ picture.flatten(1))
        torch.testing.assert_close(row, matrix[tuple(torch.tril_indices(AXES, AXES, -1))], atol=1e-4, rtol=1e-4)
    tokens = state.flatten(2).transpose(1, 2)  # as transformers give it
    torch.testing.assert_close(part(tokens), found)


def test_strength_and_level_of_the_channels_change_nothing(part: Correlations) -> None:
    state = torch.randn(2, CHANNELS, 9, 9)
    torch.testing.assert_close(part(3 * state + torch.randn(CHANNELS, 1, 1)), part(state), atol=1e-4, rtol=1e-4)


def test_axes_are_the_directions_of_the_largest_variation() -> None:
    directions, _ = torch.linalg.qr(torch.randn(CHANNELS, CHANNELS, dtype=torch.float64))
    covariance = directions @ torch.diag(torch.tensor([9.0, 1, 4, 25, 2, 16], dtype=torch.float64)) @ directions.T
    part = Correlations(CHANNELS, 3)
    assert not part.axes.any()
    part.fit(covariance)
    likeness = (part.axes.double().T @ directions[:, [3, 5, 0]]).abs()
    torch.testing.assert_close(likeness, torch.eye(3, dtype=torch.float64), atol=1e-5, rtol=0)
    assert (part.axes.gather(0, part.axes.abs().argmax(dim=0, keepdim=True)) > 0).all()


def test_fewer_channels_than_axes_are_as_many_axes() -> None:
    part = Correlations(3, 40)
    part.fit(torch.eye(3, dtype=torch.float64))
    assert part(torch.randn(2, 3, 4, 4)).shape == (2, 3)


def test_a_picture_without_variation_correlates_with_nothing(part: Correlations) -> None:
    torch.testing.assert_close(part(torch.ones(1, CHANNELS, 4, 4)), torch.zeros(1, part.width))
