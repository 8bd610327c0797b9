"""The parts of a clip's description against the words that define them, and what draws add to the statistics."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from stpr.runtime.contract.errors import RecipeError
from stpr.train.learning.inputs import FrozenFeatures, PixelClips
from stpr.train.learning.stage_clips import StageClips
from stpr.train.methods.build import build_model
from stpr.train.model.columns import Columns
from stpr.train.model.scores.description import Description
from stpr.train.model.scores.reliability import weigh
from stpr.train.model.scores.samples import Samples, joined
from stpr.train.model.scores.statistics import ClipStatistics
from stpr.train.model.scores.view import View
from stpr.train.settings.model import InnerSettings, Part, StatisticsSettings
from tests.train.synthetic import OURS, STAGES, learnt, make_features, make_inputs, make_recipe

FRAMES, COLUMNS = 5, Columns(3)


def slow(part: Part, clip: np.ndarray) -> np.ndarray:
    """One part of one clip `(T, D)`, frame by frame."""
    mean = clip.mean(axis=0)
    moved = [frame - mean for frame in clip]
    if part == "mean":
        return np.asarray(mean)
    if part == "difference":
        return np.asarray(np.mean(moved[len(clip) // 2 :], axis=0) - np.mean(moved[: len(clip) // 2], axis=0))
    if part == "deviation":
        return np.sqrt(np.mean([frame**2 for frame in moved], axis=0) + 1e-6)
    if part == "change":
        return np.asarray(np.mean([abs(after - before) for before, after in itertools.pairwise(clip)], axis=0))
    lag = {"lag1": 1, "lag2": 2}[part]
    return np.asarray(np.mean([moved[at] * moved[at - lag] for at in range(lag, len(clip))], axis=0))


@pytest.mark.parametrize("part", ["mean", "difference", "deviation", "change", "lag1", "lag2"])
def test_a_part_is_what_its_name_says(part: Part) -> None:
    clips = torch.randn(4, FRAMES, COLUMNS.width, generator=torch.Generator().manual_seed(0))
    described = ClipStatistics(FRAMES, COLUMNS, StatisticsSettings(parts=(part,))).describe(clips)
    expected = np.stack([slow(part, clip) for clip in clips.double().numpy()])
    np.testing.assert_allclose(described, expected, atol=1e-5)


def test_parts_stand_side_by_side_in_the_order_asked_for() -> None:
    clips = torch.randn(2, FRAMES, COLUMNS.width)
    settings = [StatisticsSettings(parts=parts) for parts in (("change", "mean"), ("change",), ("mean",))]
    both, change, mean = (ClipStatistics(FRAMES, COLUMNS, one).describe(clips) for one in settings)
    assert torch.equal(both, torch.cat([change, mean], dim=1))


MOVING = Columns(5, (4,), pairs=3)  # of which three views are learnt
THREE = StatisticsSettings(
    parts=("mean", "change"),
    shrinkage=0.3,
    inner=InnerSettings(parts=("mean",), shrinkage=0.2),
    rhythm=True,
    likelihood="cosine",
    concentration="learnt",
)


def moving_samples(seed: int, *, classes: int = 3, clips: int = 8, views: int = 2) -> Samples:
    """Views of a stage's clips: a class has a place, a clip its own and a view a little of its own."""
    generator = torch.Generator().manual_seed(seed)
    places, labels = torch.randn(classes, 1, MOVING.width, generator=generator), torch.arange(classes * clips) % classes
    own = places[labels] + torch.randn(len(labels), FRAMES, MOVING.width, generator=generator)
    every = torch.randn(views, *own.shape, generator=generator) * 0.3 + own
    return Samples(every.flatten(0, 1), labels.repeat(views), torch.arange(len(labels)).repeat(views))


def learnt_views(*stages: Samples) -> ClipStatistics:
    found = ClipStatistics(FRAMES, MOVING, THREE)
    for samples in stages:
        found.update(samples, int(samples.labels.max()) + 1)
    return found


def whitened(rows: np.ndarray, classes: int, shrinkage: float) -> np.ndarray:
    """The map that whitens, from rows `(n, S)` that are measured from what they scatter around."""
    covariance = rows.T @ rows / (len(rows) - classes)
    scale = np.sqrt(np.diag(covariance))
    correlation = (1 - shrinkage) * covariance / np.outer(scale, scale) + shrinkage * np.eye(len(scale))
    return np.asarray(np.linalg.inv(np.linalg.cholesky(correlation)).T / scale[:, None])


def slow_views(stages: list[Samples], asked: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Scores `(B, C)` of clips and the weights `(V,)`, from all clips of all stages at once, view by view."""
    describe = ClipStatistics(FRAMES, MOVING, THREE).describe
    rows, owners, halves, offset = [], [], [], 0
    for samples in stages:
        rows.append(describe(samples.features).double().numpy())
        owners.append(samples.labels.numpy() + offset)
        order = [sorted(set(samples.clips[samples.labels == label].tolist())) for label in samples.labels.tolist()]
        halves += [2 * ids.index(clip) // len(ids) for ids, clip in zip(order, samples.clips.tolist(), strict=True)]
        offset += len(set(samples.labels.tolist()))
    every, owner, half = np.concatenate(rows), np.concatenate(owners), np.array(halves)
    counts = np.array([[len(every[(owner == label) & (half == one)]) / 2 for one in (0, 1)] for label in range(offset)])
    cosines, found = [], []
    for place, section in zip(describe.places, describe.sections, strict=True):
        part = every[:, place]
        means = np.array([part[owner == label].mean(axis=0) for label in range(offset)])
        parted = np.array([[part[(owner == k) & (half == one)].mean(axis=0) for k in range(offset)] for one in (0, 1)])
        whitening = whitened(part - means[owner], offset, section.shrinkage)
        inner = whitened(part - parted[half, owner], 2 * offset, section.shrinkage)
        between = (parted - parted.mean(axis=1, keepdims=True)) @ inner
        found.append((torch.from_numpy(between), torch.from_numpy((parted[0] - parted[1]) @ inner)))
        seen = (describe(asked).double().numpy()[:, place] - means.mean(axis=0)) @ whitening
        classes = (means - means.mean(axis=0)) @ whitening
        seen, classes = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (seen, classes))
        cosines.append(seen @ classes.T)
    weights = weigh(found, torch.from_numpy(counts)).numpy()
    return np.tensordot(weights, cosines, axes=1), weights


def test_several_views_score_as_from_all_clips_at_once() -> None:
    stages, asked = [moving_samples(seed) for seed in (0, 1, 2)], moving_samples(9).features
    found = learnt_views(*stages)
    wanted, weights = slow_views(stages, asked)
    np.testing.assert_allclose(found.concentrations, weights, rtol=5e-3, atol=0.02)
    np.testing.assert_allclose(found.log_likelihoods(found.read(asked)), wanted, rtol=0.01, atol=0.05)
    assert weights.max() > 2 * weights.min() > 0  # or they might as well be one number
    assert np.ptp(wanted) > 10
    pointed, length, cosines = found.resemble(found.read(asked))
    np.testing.assert_allclose(
        cosines * found.concentrations.sum(), found.log_likelihoods(found.read(asked)), atol=1e-3
    )
    parts = [pointed[:, place].norm(dim=1) for place in found.describe.places]
    torch.testing.assert_close(torch.stack(parts), torch.ones(3, len(asked)))
    shares = found.concentrations / found.concentrations.sum()
    moved = [
        view.whitened(found.describe(asked)[:, place]).float()
        for view, place in zip(found._views(), found.places, strict=True)
    ]
    squares = torch.stack([one.square().sum(dim=1) for one in moved], dim=1) @ shares
    torch.testing.assert_close(length[:, 0], squares.sqrt(), rtol=1e-4, atol=1e-4)


def test_a_clip_is_described_once_for_all_that_is_made_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found, asked, calls = learnt_views(moving_samples(0)), moving_samples(9).features, list[int]()
    describe = Description.forward

    def counted(self: Description, features: Tensor) -> Tensor:
        calls.append(len(features))
        return describe(self, features)

    monkeypatch.setattr(Description, "forward", counted)
    clips = found.read(asked)
    assert not calls  # nor before it is needed
    together = (found.log_likelihoods(clips), found.familiar(clips), *found.resemble(clips))
    assert calls == [len(asked)]
    alone = (
        found.log_likelihoods(found.read(asked)),
        found.familiar(found.read(asked)),
        *found.resemble(found.read(asked)),
    )
    for one, other in zip(together, alone, strict=True):
        assert torch.equal(one, other)


def test_the_order_of_stages_does_not_matter() -> None:
    first, second, asked = moving_samples(0), moving_samples(1, classes=2), moving_samples(9).features
    one, other = learnt_views(first, second), learnt_views(second, first)
    torch.testing.assert_close(one.concentrations, other.concentrations, rtol=2e-3, atol=1e-2)
    scores = other.log_likelihoods(other.read(asked))
    torch.testing.assert_close(one.log_likelihoods(one.read(asked)), scores[:, [2, 3, 4, 0, 1]], rtol=5e-3, atol=2e-2)


def test_the_order_of_clips_and_views_does_not_matter_but_a_clips_views_stay_in_one_half() -> None:
    samples, asked = moving_samples(0), moving_samples(9).features
    turn = torch.from_numpy(np.random.default_rng(0).permutation(len(samples.labels)))
    shuffled = Samples(samples.features[turn], samples.labels[turn], samples.clips[turn])
    one, other = learnt_views(samples), learnt_views(shuffled)
    torch.testing.assert_close(
        one.log_likelihoods(one.read(asked)), other.log_likelihoods(other.read(asked)), rtol=5e-3, atol=2e-2
    )
    assert one.units.tolist() == [[[8.0, 4.0], [8.0, 4.0]]] * 3  # two views of each of four clips


@pytest.mark.parametrize("stages", [1, 2])
def test_what_is_kept_makes_the_same_scores_again(stages: int) -> None:
    found = learnt_views(*(moving_samples(seed, classes=2) for seed in range(stages)))
    again = ClipStatistics(FRAMES, MOVING, THREE)
    again.resize(2 * stages)
    again.load_state_dict(found.state_dict())
    again.refresh()
    asked = moving_samples(9).features
    assert torch.equal(found.log_likelihoods(found.read(asked)), again.log_likelihoods(again.read(asked)))
    assert torch.equal(found.familiar(found.read(asked)), again.familiar(again.read(asked)))
    assert set(found.state_dict()) == {
        *("count", "units", "concentrations"),
        *(f"views.{view}.{name}" for view in range(3) for name in ("means", "scatter", "differences")),
    }
    if stages == 1:  # two classes are too few to learn weights from
        assert found.concentrations.tolist() == [10.0] * 3


def test_draws_are_counted_like_the_centre_views() -> None:
    """As if each draw were another clip of the same class."""
    recipe = make_recipe(**OURS, statistics={"draws": True}, unknown={"holdout": 0.0}, optimizer={"epochs_first": 0})
    model = learnt(recipe, stages=1)
    inputs = make_inputs(1)
    views = inputs.features.transpose(0, 1).flatten(0, 1)  # draw by draw
    found = model.head.combiner.statistics
    assert isinstance(found, ClipStatistics)
    wanted = ClipStatistics(views.shape[1], Columns(views.shape[2]), recipe.statistics)
    wanted.update(Samples(views, inputs.labels.repeat(inputs.features.shape[1]), torch.arange(len(views))), 2)
    assert float(found.count) == len(views) == 3 * len(inputs.labels)
    here, there = found.views[0], wanted.views[0]
    assert isinstance(here, View)
    assert isinstance(there, View)
    torch.testing.assert_close(here.means, there.means)
    torch.testing.assert_close(here.scatter, there.scatter)


def test_draws_of_a_clip_that_count_together_count_like_its_centre_view() -> None:
    model = build_model(make_recipe())
    clips = StageClips(STAGES[0], make_inputs(1), model.encoder)
    alike, together = (clips.samples(0, draws=draws) for draws in (True, "together"))
    assert torch.equal(alike.features, together.features)
    assert alike.weights is None
    assert together.weights is not None
    count = len(clips.inputs.labels)
    assert together.weights.tolist() == [1.0] * count + [0.5] * 2 * count
    assert joined([together, together]).weights is not None
    statistics = ClipStatistics(4, Columns(64), make_recipe(**OURS).statistics)
    statistics.update(together, 2)
    assert float(statistics.count) == 2 * count


def test_clips_that_are_drawn_anew_have_no_draws_to_count() -> None:
    model = build_model(make_recipe())
    features, labels = make_features(1)
    clips = PixelClips([], labels[:0], spec=model.encoder.pixels, sampling=make_recipe().sampling, seed=0)
    with pytest.raises(RecipeError, match=r"\[statistics\] draws = true needs features that are encoded once, .*; set"):
        clips.draws()
    centre = StageClips(STAGES[0], FrozenFeatures(features[:, None], labels), model.encoder).samples(0, draws=True)
    assert len(centre[0]) == len(labels)  # no draws: the centre views alone


def test_clips_of_several_parts_stay_apart() -> None:
    first, second = moving_samples(0, clips=2), moving_samples(1, clips=3)
    both = joined([first, second])
    assert torch.equal(both.features, torch.cat([first.features, second.features]))
    assert torch.equal(both.labels, torch.cat([first.labels, second.labels]))
    assert both.clips.tolist() == [*range(6), *range(6), *range(6, 15), *range(6, 15)]
