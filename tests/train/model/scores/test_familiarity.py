from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from stpr.train.model.scores.familiarity import LONE_SPREAD, Familiarity
from stpr.train.model.scores.view import View

SIZE = 5
SHRINKAGE = 0.6


def some_classes(count: int, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Means `(C, S)` and a covariance `(S, S)` of mixed scales."""
    draw = torch.Generator().manual_seed(seed)
    mixed = torch.randn(SIZE, SIZE, generator=draw, dtype=torch.float64) * torch.tensor([3.0, 1.0, 0.5, 2.0, 1.0])
    return torch.randn(count, SIZE, generator=draw) * 4 + 7, mixed.T @ mixed


def made(means: torch.Tensor, covariance: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """How familiar clips `(n, S)` are among classes of these means and this covariance."""
    view, familiarity = View(SIZE, 0.1, in_halves=False), Familiarity([SIZE], SHRINKAGE)
    view.means, view.scatter = means, covariance.float()
    familiarity.refresh([view.refresh(view.covariance(torch.tensor(len(means) + 1.0)))])

    def familiar(clips: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = familiarity([view], [view.in_units(clips)])
        return found

    return familiar


@pytest.mark.parametrize("count", [1, 2, 4])
def test_it_is_the_log_ratio_in_deviations_of_the_classes_own_clips(count: int) -> None:
    """Against the two densities written out with numpy, and moments of a large sample."""
    means, covariance = some_classes(count)
    scale = covariance.diagonal().sqrt().numpy()
    correlation = covariance.numpy() / scale / scale[:, None]
    places = means.double().numpy() / scale
    middle = places.mean(axis=0)
    between = np.square(places - middle).sum() / (count - 1) / SIZE if count > 1 else LONE_SPREAD
    near = (1 - SHRINKAGE) * correlation + SHRINKAGE * np.eye(SIZE)
    inner, outer = np.linalg.inv(near), np.linalg.inv(near + between * np.eye(SIZE))

    def ratio(clips: np.ndarray, place: np.ndarray) -> np.ndarray:
        far, close = clips - middle, clips - place
        return np.asarray(((far @ outer) * far).sum(axis=1) - ((close @ inner) * close).sum(axis=1))

    rng = np.random.default_rng(0)
    clips = rng.normal(size=(9, SIZE)) * 3 + middle
    expected = []
    for place in places:
        own = ratio(rng.multivariate_normal(place, correlation, size=200_000), place)
        expected.append((ratio(clips, place) - own.mean()) / own.std())
    found = made(means, covariance)(torch.from_numpy(clips * scale).float()).numpy()
    np.testing.assert_allclose(found, np.max(expected, axis=0), rtol=0.02, atol=0.02)


def test_units_of_the_features_and_the_order_of_the_classes_do_not_matter() -> None:
    means, covariance = some_classes(3)
    clips = torch.randn(7, SIZE, generator=torch.Generator().manual_seed(1)) * 4 + 7
    units = torch.tensor([0.1, 10.0, 1.0, 3.0, 0.5])
    plain = made(means, covariance)(clips)
    other = made(means.flip(0) * units, covariance * units * units[:, None])(clips * units)
    torch.testing.assert_close(other, plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("count", [1, 3])
def test_clips_that_never_varied_give_finite_numbers(count: int) -> None:
    means, _ = some_classes(count)
    found = made(means, torch.zeros(SIZE, SIZE, dtype=torch.float64))(means + 1e-3)
    assert torch.isfinite(found).all()
