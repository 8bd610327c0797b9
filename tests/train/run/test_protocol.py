"""The loop over stages on made-up features: what is learnt from, tested on and handed on at each stage."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from stpr.train.data.stages import Stage
from stpr.train.learning.fit import Sgd
from stpr.train.learning.inputs import FrozenFeatures
from stpr.train.methods.build import build_model
from stpr.train.model.encoder import FrameEncoder
from stpr.train.run.checkpoint import kept_tensors
from stpr.train.run.protocol import Finished, Plan, learn_stages
from stpr.train.settings.recipe import Recipe
from tests.train.synthetic import ADAPTED, OURS, STAGES, make_features, make_fit, make_inputs, make_recipe

FEW = {"optimizer": {"epochs_first": 1, "epochs_later": 1}}
STAGE_LIST = tuple(Stage(index, classes) for index, classes in enumerate(STAGES, start=1))


class MadeUp:
    """Made-up clips that note who asks for which; of the stages in `untested` there are no test clips."""

    def __init__(self, *, untested: tuple[int, ...] = ()) -> None:
        self.untested = untested
        self.asked: list[tuple[str, int]] = []

    def train(self, encoder: FrameEncoder, stage: Stage) -> FrozenFeatures:
        del encoder
        self.asked.append(("train", stage.index))
        return make_inputs(stage.index)

    def test(self, encoder: FrameEncoder, stage: Stage) -> FrozenFeatures | None:
        del encoder
        self.asked.append(("test", stage.index))
        features, labels = make_features(stage.index, clips=3, split=1)
        return None if stage.index in self.untested else FrozenFeatures(features[:, None], labels)


def recipe_of(**tables: Any) -> Recipe:
    return make_recipe(**{**FEW, **ADAPTED, **OURS, "unknown": {"holdout": 0.0}, **tables})


def learn(recipe: Recipe, clips: MadeUp, *, last: int = 3) -> list[tuple[Finished, dict[str, torch.Tensor]]]:
    """What each stage left, with the model's tensors as they were then."""
    plan = Plan(recipe, STAGE_LIST, last, lambda: build_model(recipe))
    torch.manual_seed(recipe.seed)

    def trainer(stage: Stage) -> Sgd:
        return make_fit(recipe, stage.index)

    done = learn_stages(plan, plan.build(), clips, trainer)
    return [(one, {name: value.clone() for name, value in kept_tensors(one.model).items()}) for one in done]


def test_a_stages_videos_are_asked_for_once_and_every_class_so_far_is_tested() -> None:
    clips = MadeUp()
    found = learn(recipe_of(), clips)
    assert clips.asked == [
        *[("train", 1), ("test", 1), ("test", 1)],  # a stage's own are there before it is learnt
        *[("train", 2), ("test", 2), ("test", 1), ("test", 2)],
        *[("train", 3), ("test", 3), ("test", 1), ("test", 2), ("test", 3)],
    ]
    assert [one.stage.index for one, _ in found] == [1, 2, 3]
    for index, (one, _) in enumerate(found, start=1):
        assert one.known is not None
        assert one.known.stages.tolist() == [stage for stage in range(1, index + 1) for _ in range(6)]
        assert one.known.predicted.max() < 2 * index
        assert (one.unknown, one.strange, one.thresholds) == (None, None, (None,) * index)


def test_thresholds_are_tried_on_the_classes_to_come() -> None:
    found = learn(recipe_of(unknown={"holdout": 0.25}), MadeUp())
    assert [one.strange and sorted(set(one.strange.stages.tolist())) for one, _ in found] == [[2, 3], [3], None]
    assert [len(one.thresholds) for one, _ in found] == [1, 2, 3]
    assert all(low is not None for one, _ in found for low in one.thresholds)


def test_it_stops_after_the_last_stage_that_is_wanted() -> None:
    clips = MadeUp()
    assert len(learn(recipe_of(), clips, last=2)) == 2
    assert ("train", 3) not in clips.asked


def test_stages_whose_test_clips_are_gone_are_left_out_of_the_test() -> None:
    found = learn(recipe_of(), MadeUp(untested=(1,)), last=2)
    assert found[0][0].known is None
    assert found[1][0].known is not None
    assert set(found[1][0].known.stages.tolist()) == {2}


@pytest.mark.parametrize("method", ["stpr", "ranpac"])
def test_going_on_from_a_stage_ends_where_going_through_does(method: str) -> None:
    recipe = recipe_of(method=method)
    whole = learn(recipe, MadeUp())[-1][1]
    [(first, _)] = learn(recipe, MadeUp(), last=1)
    plan = Plan(recipe, STAGE_LIST, 3, lambda: build_model(recipe))
    clips = MadeUp()

    def trainer(stage: Stage) -> Sgd:
        return make_fit(recipe, stage.index)

    *_, last = learn_stages(plan, first.model, clips, trainer, first.thresholds)
    assert ("train", 1) not in clips.asked
    assert last.stage.index == 3
    tensors = kept_tensors(last.model)
    assert all(torch.equal(value, tensors[name]) for name, value in whole.items())


def test_a_method_that_keeps_videos_begins_anew_with_all_of_them() -> None:
    clips = MadeUp()
    found = learn(recipe_of(method="joint"), clips)
    assert [place for what, place in clips.asked if what == "train"] == [1, 2, 3]  # each is encoded once
    assert len({id(one.model) for one, _ in found}) == 3
    assert [one.model.head.classes for one, _ in found] == [2, 4, 6]
