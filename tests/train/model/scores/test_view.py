"""What a view keeps, against the clips that it was learnt from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from stpr.train.model.scores.mirror import Mirror
from stpr.train.model.scores.samples import Samples
from stpr.train.model.scores.view import ZERO, View

SIZE, SHRINKAGE = 5, 0.2
Floats = npt.NDArray[np.float64]


def stage(seed: int, classes: int = 3, clips: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    """Descriptions `(n, S)` of a stage's clips, their classes, and in which half of its class each is."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(classes * clips) % classes)
    mixing = rng.normal(size=(SIZE, SIZE))
    made = rng.normal(size=(len(labels), SIZE)) @ mixing + 2 * rng.normal(size=(classes, SIZE))[labels] + 3
    halves = rng.integers(0, 2, len(labels))
    for label in range(classes):  # neither is empty, and they are not of one size
        halves[np.flatnonzero(labels == label)[:3]] = (0, 0, 1)
    return torch.from_numpy(made).float(), torch.from_numpy(labels), torch.from_numpy(halves)


def plain(described: Tensor, labels: Tensor) -> Samples:
    """Every row a clip of its own, all counted alike."""
    return Samples(described, labels, torch.arange(len(labels)))


def filled(
    *, in_halves: bool, stages: int = 2, shrinkage: float = SHRINKAGE
) -> tuple[View, Tensor, list[tuple[Floats, Floats]]]:
    """A view that learnt two stages, the rows in each class's halves `(C, 2)`, and each class's own rows by half."""
    view, counts, rows = View(SIZE, shrinkage, in_halves=in_halves), [], []
    for seed in range(stages):
        described, labels, halves = stage(seed)
        view.update(described, plain(described, labels), halves, 3)
        for label in range(3):
            first, second = (described[(labels == label) & (halves == half)].double().numpy() for half in (0, 1))
            rows.append((first, second))
            counts.append([len(first), len(second)])
    return view, torch.tensor(counts, dtype=torch.float), rows


def whitening_of(covariance: Floats) -> Floats:
    scale = np.sqrt(np.diag(covariance))
    correlation = (1 - SHRINKAGE) * covariance / np.outer(scale, scale) + SHRINKAGE * np.eye(SIZE)
    return np.asarray(np.linalg.inv(np.linalg.cholesky(correlation)).T / scale[:, None])


@pytest.mark.parametrize("in_halves", [False, True])
def test_the_covariance_is_that_of_all_rows_around_their_class_means(in_halves: bool) -> None:
    view, counts, rows = filled(in_halves=in_halves)
    classes = [np.concatenate(pair) for pair in rows]
    around = np.concatenate([one - one.mean(axis=0) for one in classes])
    wanted = around.T @ around / (len(around) - len(classes))
    np.testing.assert_allclose(view.means, [one.mean(axis=0) for one in classes], rtol=1e-5)
    np.testing.assert_allclose(view.covariance(counts if in_halves else counts.sum()), wanted, rtol=1e-4, atol=1e-4)


def test_halves_are_those_of_the_clips_themselves_whitened_by_their_own_scatter() -> None:
    view, counts, rows = filled(in_halves=True)
    means = np.array([[half.mean(axis=0) for half in pair] for pair in rows]).transpose(1, 0, 2)  # (2, C, S)
    around = np.concatenate([half - half.mean(axis=0) for pair in rows for half in pair])
    whitening = whitening_of(around.T @ around / (len(around) - 2 * len(rows)))
    halves, apart = view.halved(counts)
    np.testing.assert_allclose(halves, (means - means.mean(axis=1, keepdims=True)) @ whitening, atol=1e-4)
    np.testing.assert_allclose(apart, (means[0] - means[1]) @ whitening, atol=1e-4)


def test_with_a_mirror_every_clip_counts_twice_of_its_class_if_that_is_symmetric() -> None:
    mirror = Mirror(torch.tensor([1, 0, 2, 4, 3]), torch.tensor([1.0, 1.0, -1.0, -1.0, -1.0]))
    view, counts, rows = filled(in_halves=True)
    view.mirror, view.symmetric = mirror, torch.tensor([True, False, True, True, False, True])
    groups, halves = [], []
    for pair, symmetric in zip(rows, view.symmetric.tolist(), strict=True):
        images = [np.asarray(mirror(torch.from_numpy(half))) for half in pair]
        if symmetric:
            both = [np.concatenate(one) for one in zip(pair, images, strict=True)]
            groups.append([np.concatenate(both)])
            halves.append(both)
        else:  # its mirror image is of no class, but clips vary alike around it
            groups.append([np.concatenate(pair), np.concatenate(images)])
            halves.append([*pair, *images])
    around = np.concatenate([one - one.mean(axis=0) for group in groups for one in group])
    found = view.covariance(counts)
    np.testing.assert_allclose(found, around.T @ around / (len(around) - len(rows)), rtol=1e-4, atol=1e-4)
    view.refresh(found)
    np.testing.assert_allclose(view.known, [group[0].mean(axis=0) for group in groups], rtol=1e-4, atol=1e-5)
    around = np.concatenate([one - one.mean(axis=0) for parts in halves for one in parts])
    whitening = whitening_of(around.T @ around / (len(around) - 2 * len(rows)))
    means = np.array([[parts[half].mean(axis=0) for parts in halves] for half in (0, 1)])
    seen, apart = view.halved(counts)
    np.testing.assert_allclose(seen, (means - means.mean(axis=1, keepdims=True)) @ whitening, atol=1e-4)
    np.testing.assert_allclose(apart, (means[0] - means[1]) @ whitening, atol=1e-4)


def test_clips_and_directions_are_seen_from_the_middle_of_the_classes_up_to_a_turn_of_the_axes() -> None:
    view, counts, rows = filled(in_halves=True)
    view.refresh(view.covariance(counts))
    means = np.array([np.concatenate(pair).mean(axis=0) for pair in rows])
    whitening = whitening_of(np.asarray(view.covariance(counts)))
    seen = (means - means.mean(axis=0)) @ whitening
    pointed = seen / np.linalg.norm(seen, axis=1, keepdims=True)
    np.testing.assert_allclose(view.directions @ view.directions.T, pointed @ pointed.T, atol=1e-3)
    described, _, _ = stage(7)
    wanted = (described.double().numpy() - means.mean(axis=0)) @ whitening
    moved = view.whitened(described).float()
    np.testing.assert_allclose(moved @ moved.T, wanted @ wanted.T, atol=1e-2)
    np.testing.assert_allclose(moved @ view.directions.T, wanted @ pointed.T, atol=1e-2)
    # Whitened: what is left of the covariance is the share that was not drawn to the diagonal.
    np.testing.assert_allclose(
        whitening.T
        @ (0.8 * np.asarray(view.covariance(counts)) + 0.2 * np.diag(np.diag(view.covariance(counts))))
        @ whitening,
        np.eye(SIZE),
        atol=1e-6,
    )


@pytest.mark.parametrize("shrinkage", [0.0, SHRINKAGE])
def test_a_triangular_whitening_has_half_the_numbers_and_leaves_every_length_and_angle(shrinkage: float) -> None:
    (view, counts, _), (described, _, _) = filled(in_halves=True, shrinkage=shrinkage), stage(7)
    found = []
    for refresh in (view.refresh, view.refresh_triangular):
        refresh(view.covariance(counts))
        moved = view.whitened(described)
        found.append((moved @ moved.T, moved @ view.directions.double().T))
    for full, triangular in zip(*found, strict=True):
        torch.testing.assert_close(full, triangular, rtol=0.02, atol=0.02 * float(full.abs().max()))
    numbers = view.axes.float() - ZERO
    assert torch.equal(numbers, numbers.tril().round())
    assert (numbers * view.gain).diagonal().abs().min() > 0.99


@pytest.mark.parametrize("unheard", [0, 2])
def test_beyond_the_largest_axes_clips_vary_alike_in_every_direction(
    unheard: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stpr.train.model.scores.view.AXES", 2)
    described, labels, halves = stage(0)
    rows = torch.cat([described, torch.zeros(len(labels), unheard)], dim=1)
    view = View(SIZE + unheard, SHRINKAGE, in_halves=False)
    view.update(rows, plain(rows, labels), halves, 3)
    covariance = view.covariance(torch.tensor(float(len(rows))))
    spread = view.refresh(covariance)
    scale = covariance.diagonal()[:SIZE].sqrt().numpy()
    variances, axes = np.linalg.eigh(covariance[:SIZE, :SIZE].numpy() / np.outer(scale, scale))
    rest = variances[:3].mean()
    told = axes @ np.diag([rest, rest, rest, *variances[3:]]) @ axes.T
    drawn = (1 - SHRINKAGE) * told + SHRINKAGE * np.eye(SIZE)
    places = (described.double().numpy() - view.means[:, :SIZE].double().numpy().mean(axis=0)) / scale
    moved = view.whitened(rows)
    np.testing.assert_allclose(moved @ moved.T, places @ np.linalg.inv(drawn) @ places.T, rtol=0.02, atol=0.1)
    assert (view.axes.shape, spread.others) == ((SIZE + unheard, 2), 3)
    assert float(spread.trace(spread.variances)) == pytest.approx(SIZE, rel=1e-3)  # of correlations
    centred = spread.places[:, :SIZE].numpy()
    np.testing.assert_allclose(spread.scaled(spread.variances)[:, :SIZE], centred @ told, rtol=0.02, atol=0.02)


def test_a_half_without_rows_leaves_the_covariance_of_the_other() -> None:
    described, labels, _ = stage(0)
    whole, halved = View(SIZE, SHRINKAGE, in_halves=False), View(SIZE, SHRINKAGE, in_halves=True)
    for view in (whole, halved):
        view.update(described, plain(described, labels), torch.zeros_like(labels), 3)
    counts = torch.tensor([[9.0, 0.0]] * 3)
    torch.testing.assert_close(halved.covariance(counts), whole.covariance(counts.sum()))


def test_it_grows_with_the_classes_as_a_checkpoint_must() -> None:
    view, _, _ = filled(in_halves=True)
    blank = View(SIZE, SHRINKAGE, in_halves=True)
    blank.resize(6)
    assert {name: value.shape for name, value in blank.state_dict().items()} == {
        name: value.shape for name, value in view.state_dict().items()
    }
    assert set(blank.state_dict()) == {"means", "scatter", "differences"}
    # What is derived has its shape too, so that FLOPs can be counted where there are no values.
    assert (blank.directions.shape, blank.axes.shape) == ((6, SIZE), (SIZE, SIZE))


def test_a_row_of_weight_two_counts_like_two() -> None:
    described, labels, halves = stage(0)
    weighted, doubled = (View(SIZE, SHRINKAGE, in_halves=True) for _ in range(2))
    weights = 1.0 + (torch.arange(len(labels)) % 3 == 0)
    weighted.update(described, plain(described, labels)._replace(weights=weights), halves, 3)
    rows = torch.arange(len(labels)).repeat_interleave(weights.long())
    doubled.update(described[rows], plain(described[rows], labels[rows]), halves[rows], 3)
    for kept in ("means", "scatter", "differences"):
        torch.testing.assert_close(getattr(weighted, kept), getattr(doubled, kept), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("in_halves", [False, True])
@pytest.mark.parametrize("shrinkage", [0.0, SHRINKAGE])
def test_numbers_that_never_vary_are_not_heard(shrinkage: float, *, in_halves: bool) -> None:
    described, labels, halves = stage(0)
    noise = 1e-5 * torch.randn(len(labels), 2, generator=torch.Generator().manual_seed(0))
    view, alone = (View(size, shrinkage, in_halves=in_halves, rounding=1e-4) for size in (SIZE + 2, SIZE))
    counts = torch.tensor([[float(((labels == c) & (halves == h)).sum()) for h in (0, 1)] for c in range(3)])
    for one, rows in ((view, torch.cat([described, noise], dim=1)), (alone, described)):
        one.update(rows, plain(rows, labels), halves, 3)
        one.refresh(one.covariance(counts))
    moves = torch.cat([described, torch.full((len(labels), 2), 7.0)], dim=1)  # as nothing ever did
    pointed, wanted = (
        one.whitened(rows).float() @ one.directions.T for one, rows in ((view, moves), (alone, described))
    )
    torch.testing.assert_close(pointed, wanted, rtol=1e-3, atol=1e-3)  # axes have eleven bits
    if in_halves:
        torch.testing.assert_close(view.halved(counts)[1][:, :SIZE], alone.halved(counts)[1])
        assert not view.halved(counts)[0][..., SIZE:].any()


def test_what_tells_classes_apart_is_heard_however_little_clips_vary() -> None:
    described, labels, halves = stage(0)
    rows = torch.cat([described, labels[:, None].float()], dim=1)  # one number to each class
    view = View(SIZE + 1, SHRINKAGE, in_halves=False)
    view.update(rows, plain(rows, labels), halves, 3)
    view.refresh(view.covariance(torch.tensor(float(len(rows)))))
    assert ((view.whitened(rows).float() @ view.directions.T).argmax(dim=1) == labels).all()
