"""A threshold per stage from clips that nothing was learnt from, and how far it parts known from strange."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stpr.train.data.stages import Stage
from stpr.train.learning.inputs import FrozenFeatures
from stpr.train.methods.build import build_model
from stpr.train.model.encoder import FrameEncoder
from stpr.train.model.scores.statistics import ClipStatistics
from stpr.train.model.stpr import StPR
from stpr.train.run.evaluate import predict
from stpr.train.run.open_set import (
    FEWEST,
    SEVERAL,
    held_out,
    lower_bound,
    measure,
    unknown_spec,
)
from stpr.train.run.open_set_metrics import Judged, UnknownFigures, figures_of
from stpr.train.run.protocol import Plan, learn_stages
from stpr.train.run.stage import learn_stage
from tests.train.synthetic import ADAPTED, OURS, STAGES, make_features, make_fit, make_inputs, make_recipe

FEW = {"optimizer": {"epochs_first": 2, "epochs_later": 2}}
scores = st.lists(st.integers(-3, 3), min_size=1, max_size=12)  # few values: ties


@settings(deadline=None)  # the first example imports scikit-learn
@given(scores, scores)
def test_auroc_is_the_share_of_pairs_in_order(known: list[int], unknown: list[int]) -> None:
    pairs = [(one > two) + 0.5 * (one == two) for one in known for two in unknown]
    judged = (Judged(np.array(given, float), np.zeros(len(given), bool)) for given in (known, unknown))
    assert figures_of(*judged, recall=0.95).auroc == pytest.approx(np.mean(pairs))


def test_figures_by_hand() -> None:
    known = Judged(np.arange(20.0), np.arange(20) >= 2)
    strange = Judged(np.array([-1.0, 0.5, 0.96, 3.0]), np.array([False, True, True, False]))
    found = figures_of(known, strange, recall=0.95)  # 19 of 20 known clips lie above 0.95
    assert (found.recall, found.false_positive_rate, found.false_positive_rate_at_recall) == (0.9, 0.5, 0.5)
    assert found.auroc == pytest.approx((20 + 19 + 19 + 16.5) / 80)
    last = figures_of(known, Judged(np.empty(0), np.empty(0, bool)), recall=0.95)
    assert last == UnknownFigures(
        recall=0.9, false_positive_rate=None, auroc=None, false_positive_rate_at_recall=None, target_recall=0.95
    )


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    share=st.floats(0.01, 0.9),
    seed=st.integers(0, 2**31),
)
def test_a_share_of_each_class_is_held_out_and_enough_is_left(sizes: list[int], share: float, seed: int) -> None:
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    recordings = torch.randint(1 + seed % 7, labels.shape, generator=torch.Generator().manual_seed(seed))
    held = held_out(labels, recordings, share, seed=seed)
    for label, size in enumerate(sizes):
        own = labels == label
        count, wanted = int(held[own].sum()), min(max(1, round(share * size)), max(0, size - FEWEST))
        parts = [held[own & (recordings == recording)] for recording in recordings[own].unique()]
        if wanted and len(parts) >= SEVERAL:
            assert all(part.all() or not part.any() for part in parts)
            assert 1 <= count <= max(wanted, size // SEVERAL)
            assert count >= wanted or all(count + len(part) > size // SEVERAL for part in parts if not part.any())
        else:
            assert count == wanted
    assert torch.equal(held, held_out(labels, recordings, share, seed=seed))


def test_nothing_is_held_out_without_a_share_and_another_seed_holds_out_others() -> None:
    labels, recordings = torch.zeros(100, dtype=torch.long), torch.arange(100) // 10
    assert not held_out(labels, recordings, 0.0, seed=0).any()
    assert not torch.equal(held_out(labels, recordings, 0.2, seed=0), held_out(labels, recordings, 0.2, seed=1))


def test_whole_recordings_are_held_out_where_there_are_several() -> None:
    labels, recordings = torch.zeros(100, dtype=torch.long), torch.arange(100) // 10
    held = held_out(labels, recordings, 0.2, seed=0)
    assert sorted(torch.bincount(recordings[held], minlength=10).tolist()) == [0] * 8 + [10] * 2


def test_a_recording_is_held_out_whole_if_that_is_more_than_was_asked_for() -> None:
    labels, recordings = torch.zeros(40, dtype=torch.long), torch.arange(40) // 10
    held = held_out(labels, recordings, 0.1, seed=0)
    assert sorted(torch.bincount(recordings[held], minlength=4).tolist()) == [0, 0, 0, 10]
    large = torch.where(recordings == 3, 2, recordings)  # of half of the clips: never
    for seed in range(20):
        assert not held_out(labels, torch.where(large == 0, torch.arange(40) % 3 + 5, large), 0.1, seed=seed)[20:].any()


def test_the_end_of_each_recording_is_held_out_where_there_are_few() -> None:
    labels, recordings = torch.zeros(40, dtype=torch.long), torch.tensor([0] * 10 + [1] * 30)
    held = held_out(labels, recordings, 0.2, seed=0)
    assert torch.nonzero(held)[:, 0].tolist() == [8, 9, *range(34, 40)]


@pytest.mark.parametrize(("degrees", "quantile"), [(2, 2.920), (3, 2.353), (5, 2.015), (10, 1.812), (30, 1.697)])
def test_the_bound_is_a_prediction_interval_with_the_quantiles_of_printed_tables(degrees: int, quantile: float) -> None:
    scores = np.arange(degrees + 1.0)
    bound = lower_bound(scores, 0.95)
    assert bound is not None
    assert (scores.mean() - bound) / (scores.std(ddof=1) * np.sqrt(1 + 1 / len(scores))) == pytest.approx(
        quantile, abs=6e-4
    )


@pytest.mark.parametrize("count", [4, 20])
def test_the_bound_keeps_the_wished_share_of_clips_to_come(count: int) -> None:
    rng = np.random.default_rng(0)
    kept = [rng.normal() >= (lower_bound(rng.normal(size=count), 0.9) or 0.0) for _ in range(4000)]
    assert np.mean(kept) == pytest.approx(0.9, abs=0.015)
    assert lower_bound(np.zeros(FEWEST - 1), 0.9) is None


@pytest.mark.parametrize("method", ["stpr", "streaming_lda", "nearest_mean"])
def test_clips_of_later_stages_are_told_from_known_ones(method: str) -> None:
    recipe = make_recipe(method=method, **FEW, **OURS, **ADAPTED, unknown={"holdout": 0.25})
    torch.manual_seed(0)
    model = build_model(recipe)
    thresholds = []
    for stage in (1, 2):
        inputs = make_inputs(stage, clips=24)
        learnt = learn_stage(model, STAGES[stage - 1], inputs, recipe, make_fit(recipe, stage))
        thresholds.append(learnt.threshold)
    spec = unknown_spec(model, recipe.unknown, thresholds)
    assert spec is not None
    assert spec.score == ("cosine" if method == "nearest_mean" else "likelihood_ratio")
    known = predict(model, {stage: make_inputs(stage, clips=20) for stage in (1, 2)}, temperature=0.05)
    assert known is not None
    found = measure(spec, known, predict(model, {3: make_inputs(3, clips=20)}, temperature=0.05), [2, 2])
    assert found.auroc is not None
    assert found.auroc > 0.9
    assert found.recall > 0.8


BY_DIRECTION = {
    "draws": False,
    "parts": ["mean", "difference"],
    "likelihood": "cosine",
    "concentration": "learnt",
    "unknown": "direction",
}


def learn_by_direction(**unknown: float) -> tuple[StPR, list[float]]:
    """Two stages of two classes; the thresholds as the protocol keeps them."""
    recipe = make_recipe(**FEW, **OURS, statistics=BY_DIRECTION, unknown={"holdout": 0.25, **unknown})
    torch.manual_seed(0)
    model = build_model(recipe)
    plan = Plan(recipe, tuple(Stage(index, names) for index, names in enumerate(STAGES[:2], start=1)), 2, lambda: model)
    finished = list(learn_stages(plan, model, MadeUp(), lambda stage: make_fit(recipe, stage.index)))
    thresholds = finished[-1].thresholds
    return model, [low for low in thresholds if low is not None]


class MadeUp:
    """Clips of the stages, without tests."""

    def train(self, encoder: FrameEncoder, stage: Stage) -> FrozenFeatures:
        del encoder
        return make_inputs(stage.index, clips=24)

    def test(self, encoder: FrameEncoder, stage: Stage) -> None:
        del encoder, stage


def test_by_direction_the_threshold_is_the_lower_of_what_held_out_clips_and_strangers_say() -> None:
    (_, strict), (model, even), (_, lowest) = (learn_by_direction(lenience=share) for share in (0.0, 0.5, 0.9))
    assert model.head.combiner.score == "cosine"
    assert strict[-1] > even[-1] > lowest[-1]
    statistics = model.head.combiner.statistics
    assert isinstance(statistics, ClipStatistics)
    features, labels = make_inputs(2, clips=24).features[:, 0], make_inputs(2, clips=24).labels
    passing = [statistics.familiar_to_others(features[labels == label], label) >= even[-1] for label in (2, 3)]
    assert float(torch.cat(passing).float().mean()) == pytest.approx(0.5, abs=0.01)


def test_a_threshold_of_distances_gives_way_when_there_are_classes_enough_for_directions() -> None:
    first, second = learn_by_direction()[1]
    assert first == second


def test_the_statistics_take_the_held_out_clips_in() -> None:
    """Means of all clips: as if nothing had been held out."""
    means = []
    for share in (0.0, 0.3):
        recipe = make_recipe(method="streaming_lda", unknown={"holdout": share})
        torch.manual_seed(0)
        model = build_model(recipe)
        learn_stage(model, STAGES[0], make_inputs(1), recipe, make_fit(recipe, 1))
        assert isinstance(model.head.combiner.statistics, ClipStatistics)
        means.append(model.head.combiner.statistics.views[0].get_buffer("means"))
        assert float(model.head.combiner.statistics.count) == len(make_features(1)[1])
    torch.testing.assert_close(means[0], means[1])


def test_without_a_share_a_stage_is_learnt_from_all_clips_and_has_no_threshold() -> None:
    recipe = make_recipe(method="nearest_mean", unknown={"holdout": 0.0})
    torch.manual_seed(0)
    model = build_model(recipe)
    inputs = make_inputs(1)
    learnt = learn_stage(model, STAGES[0], inputs, recipe, make_fit(recipe, 1))
    assert (learnt.curves, learnt.threshold, unknown_spec(model, recipe.unknown, [None])) == ([], None, None)


def test_random_draws_help_out_where_too_few_clips_are_held_out() -> None:
    """Two classes, one clip of each held out: with draws a threshold, and one that plain clips easily pass."""
    thresholds = []
    for draws in (False, True):
        recipe = make_recipe(method="streaming_lda", statistics={"draws": draws}, unknown={"holdout": 0.2})
        torch.manual_seed(0)
        model = build_model(recipe)
        inputs = make_inputs(1, clips=5)
        thresholds.append(learn_stage(model, STAGES[0], inputs, recipe, make_fit(recipe, 1)).threshold)
    assert thresholds[0] is None
    assert thresholds[1] is not None
    known = predict(model, {1: make_inputs(1, clips=20)}, temperature=0.05)
    assert known is not None
    assert (known.familiarity >= thresholds[1]).mean() > 0.9


def test_too_few_clips_give_no_threshold_and_lose_none() -> None:
    recipe = make_recipe(method="nearest_mean")
    torch.manual_seed(0)
    model = build_model(recipe)
    learnt = learn_stage(model, STAGES[0], make_inputs(1, clips=FEWEST), recipe, make_fit(recipe, 1))
    assert learnt.threshold is None
