"""How far views are believed: made-up views whose worth is known, and the loss that weights minimise, by loops."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from stpr.train.model.scores.reliability import MOST_PROBES, PRIOR, UNKNOWN, weigh

Floats = npt.NDArray[np.float64]
Halves = tuple[Tensor, Tensor]
CLIPS, SIZE = 8, 12


def view(signal: float, seed: int, classes: int = 6, clips: int = CLIPS) -> Halves:
    """Halves `(2, C, S)` and their differences of a view in which classes lie `signal` deviations apart."""
    rng = np.random.default_rng(seed)
    means = signal * rng.normal(size=(classes, SIZE))
    halves = means + rng.normal(size=(2, classes, SIZE)) / (clips / 2) ** 0.5
    halves = halves - halves.mean(axis=1, keepdims=True)
    return torch.from_numpy(halves), torch.from_numpy(halves[0] - halves[1])


def units(classes: int = 6, clips: int = CLIPS) -> Tensor:
    return torch.full((classes, 2), clips / 2)


def test_noise_is_worth_little_and_the_better_view_more() -> None:
    for seed in range(5):
        good, fair, noise = weigh([view(2.0, seed), view(0.8, 50 + seed), view(0.0, 90 + seed)], units())
        assert good > 4
        assert 0 <= noise < 0.15 * good
        assert good > fair


def test_views_that_say_the_same_share_their_weight() -> None:
    one = weigh([view(1.0, 0)], units())
    both = weigh([view(1.0, 0), view(1.0, 0)], units())
    assert both[0] == pytest.approx(float(both[1]), rel=1e-3)
    assert float(both.sum()) == pytest.approx(float(one), rel=0.1)


def test_views_that_say_different_things_are_worth_more_than_one() -> None:
    alone = weigh([view(1.0, 0)], units())
    both = weigh([view(1.0, 0), view(1.0, 1)], units())
    assert both.sum() > 1.3 * alone.sum()
    assert both.min() > 0.3 * both.max()


@pytest.mark.parametrize("classes", [6, MOST_PROBES + 20])
@settings(max_examples=2, deadline=None)  # of many classes each takes a second
@given(seed=st.integers(0, 1000))
def test_the_order_of_classes_does_not_matter(classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    views, order = [view(1.0, seed, classes), view(0.4, seed + 1, classes)], torch.from_numpy(rng.permutation(classes))
    counts = torch.from_numpy(rng.integers(1, 9, (classes, 2))).float()
    turned = [(halves[:, order], apart[order]) for halves, apart in views]
    torch.testing.assert_close(weigh(turned, counts[order]), weigh(views, counts), rtol=1e-3, atol=1e-2)


def slow_cosines(halves: Floats, apart: Floats, counts: Floats) -> Iterator[tuple[int, int, Floats]]:
    """For each made-up clip its class and its cosine with each class of the half that it is strange to."""
    classes = len(apart)
    for known, strange in ((0, 1), (1, 0)):
        for own in range(classes):
            for sign in (1, -1):
                for lender in set(range(classes)) - {own}:
                    spread = (1 / (1 / counts[lender]).sum()) ** 0.5  # a difference of means, as if of two clips
                    clip = halves[strange, own] + sign * spread * apart[lender]
                    targets = halves[known] / np.linalg.norm(halves[known], axis=1, keepdims=True)
                    yield own, lender, targets @ clip / np.linalg.norm(clip)


def slow_weigh(views: list[Halves], counts: Tensor) -> Floats:
    seen = [list(slow_cosines(halves.numpy(), apart.numpy(), counts.double().numpy())) for halves, apart in views]

    def loss(weights: Floats) -> float:
        total = 0.0
        for rows in zip(*seen, strict=True):
            own, lender, _ = rows[0]
            scores = sum(weight * cosines for weight, (_, _, cosines) in zip(weights, rows, strict=True))
            total += np.log(np.exp(np.delete(scores, lender)).sum()) - scores[own]
        return float(total / len(seen[0]) + PRIOR / float(counts.sum()) * (weights**2).sum() / 2 / UNKNOWN**2)

    found = minimize(loss, np.full(len(views), 5.0), bounds=[(0, None)] * len(views), method="L-BFGS-B", tol=1e-12)
    return np.asarray(found.x)


def test_weights_are_those_of_least_cross_entropy_by_loops() -> None:
    views = [view(0.7, 3, classes=4), view(0.4, 4, classes=4)]
    counts = torch.tensor([[4.0, 4.0], [3.0, 5.0], [4.0, 2.0], [1.0, 6.0]])
    np.testing.assert_allclose(weigh(views, counts), slow_weigh(views, counts), rtol=0.01, atol=0.02)


def test_classes_that_can_not_be_halved_have_no_say() -> None:
    halves, apart = view(1.0, 0)
    counts = units()
    counts[[1, 4], 1] = 0
    kept = [0, 2, 3, 5]
    wanted = weigh([(halves[:, kept], apart[kept])], counts[kept])
    halves[:, [1, 4]], apart[[1, 4]] = 100.0, 100.0
    assert torch.equal(weigh([(halves, apart)], counts), wanted)


@pytest.mark.parametrize("usable", [0, 1, 2])
def test_too_few_classes_leave_views_equal(usable: int) -> None:
    counts = units()
    counts[usable:, 0] = 0
    assert weigh([view(2.0, 0), view(0.0, 1)], counts).tolist() == [UNKNOWN, UNKNOWN]
    counts[usable:3, 0] = 1
    found = weigh([view(2.0, 0), view(0.0, 1)], counts).tolist()
    assert found != [UNKNOWN, UNKNOWN]


def test_many_classes_lend_a_bounded_number_of_steps() -> None:
    """Twice as many classes as steps: about the weights of all of them, from half the clips."""
    classes = 2 * MOST_PROBES
    good, noise = weigh([view(1.5, 0, classes), view(0.0, 1, classes)], units(classes))
    assert good > 5
    assert noise < 0.1 * good
