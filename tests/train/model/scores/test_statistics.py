"""The parts of a clip's description against the words that define them, and what draws add to the statistics."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from stpr.runtime.contract.errors import RecipeError
from stpr.train.learning.inputs import FrozenFeatures, PixelClips
from stpr.train.learning.stage_clips import StageClips
from stpr.train.methods.build import build_model
from stpr.train.model.scores.statistics import ClipStatistics
from stpr.train.settings.model import Part, StatisticsSettings
from tests.train.synthetic import OURS, STAGES, learnt, make_features, make_inputs, make_recipe

FRAMES, WIDTH = 5, 3


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
    clips = torch.randn(4, FRAMES, WIDTH, generator=torch.Generator().manual_seed(0))
    described = ClipStatistics(FRAMES, WIDTH, StatisticsSettings(parts=(part,))).describe(clips)
    expected = np.stack([slow(part, clip) for clip in clips.double().numpy()])
    np.testing.assert_allclose(described, expected, atol=1e-5)


def test_parts_stand_side_by_side_in_the_order_asked_for() -> None:
    clips = torch.randn(2, FRAMES, WIDTH)
    settings = [StatisticsSettings(parts=parts) for parts in (("change", "mean"), ("change",), ("mean",))]
    both, change, mean = (ClipStatistics(FRAMES, WIDTH, one).describe(clips) for one in settings)
    assert torch.equal(both, torch.cat([change, mean], dim=1))


def test_draws_are_counted_like_the_centre_views() -> None:
    """As if each draw were another clip of the same class."""
    recipe = make_recipe(**OURS, statistics={"draws": True}, unknown={"holdout": 0.0}, optimizer={"epochs_first": 0})
    model = learnt(recipe, stages=1)
    inputs = make_inputs(1)
    views = inputs.features.transpose(0, 1).flatten(0, 1)  # draw by draw
    found = model.head.combiner.statistics
    assert isinstance(found, ClipStatistics)
    wanted = ClipStatistics(views.shape[1], views.shape[2], recipe.statistics)
    wanted.update(wanted.describe(views), inputs.labels.repeat(inputs.features.shape[1]), 2)
    assert float(found.count) == len(views) == 3 * len(inputs.labels)
    torch.testing.assert_close(found.means, wanted.means)
    torch.testing.assert_close(found.scatter, wanted.scatter)


def test_clips_that_are_drawn_anew_have_no_draws_to_count() -> None:
    model = build_model(make_recipe())
    features, labels = make_features(1)
    clips = PixelClips([], labels[:0], spec=model.encoder.backbone.spec, sampling=make_recipe().sampling, seed=0)
    with pytest.raises(RecipeError, match=r"\[statistics\] draws = true needs features that are encoded once, .*; set"):
        clips.draws()
    centre = StageClips(STAGES[0], FrozenFeatures(features[:, None], labels), model.encoder).samples(0, draws=True)
    assert len(centre[0]) == len(labels)  # no draws: the centre views alone
