"""The gradient loop: what is summed, who is stepped, what repeats."""

from __future__ import annotations

import gc
import weakref

import msgspec
import pytest
import torch
from torch import Tensor, nn

from stpr.runtime.contract.errors import RecipeError
from stpr.train.learning.fit import Criterion, Sgd, Terms
from stpr.train.learning.inputs import FrozenFeatures
from stpr.train.learning.stage_clips import StageClips
from stpr.train.methods.build import build_model
from stpr.train.settings.learning import OptimizerSettings
from tests.train.synthetic import make_fit, make_recipe

ENCODER = build_model(make_recipe()).encoder  # looks at nothing here


class Pull(Criterion):
    """Pull a point towards each clip, and, with twice the weight, towards zero."""

    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Parameter(torch.tensor([1.0, -2.0]))
        self.fixed = nn.Parameter(torch.ones(2), requires_grad=False)
        self.modes: list[bool] = []

    def forward(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        assert len(inputs) == len(labels)
        self.modes.append(self.training)
        return {
            "near": (self.fixed * (self.point - inputs[:, 0])).square().sum(dim=1),
            "small": (2 * self.point.square().sum()).expand(len(inputs)),
        }


def make_inputs(clips: int = 5) -> FrozenFeatures:
    features = torch.arange(2.0 * clips).reshape(clips, 1, 1, 2) / 10
    return FrozenFeatures(features.repeat(1, 2, 1, 1), torch.zeros(clips, dtype=torch.int64))


def stage(inputs: FrozenFeatures) -> StageClips:
    return StageClips(("a",), inputs, ENCODER)


def make_how(epochs: int, **optimizer: float) -> Sgd:
    plain = OptimizerSettings(rate=0.1, batch=5, momentum=0.0, weight_decay=0.0)
    how = make_fit(make_recipe(), 1)
    return Sgd(epochs, msgspec.structs.replace(plain, **optimizer), 0, how.on_epoch)


def test_it_is_sgd_on_the_sum_of_the_terms_under_a_cosine() -> None:
    objective, mean = Pull(), make_inputs().features[:, 0, 0].mean(dim=0)
    expected = objective.point.detach().clone()
    for rate in (0.1, 0.05):  # half a cosine over two epochs
        expected = expected - rate * (2 * (expected - mean) + 4 * expected)
    make_how(2).fit(objective, stage(make_inputs()))
    torch.testing.assert_close(objective.point.detach(), expected)
    assert torch.equal(objective.fixed, torch.ones(2))
    assert objective.modes == [True, True]
    assert not objective.training


def test_terms_are_means_over_clips_even_if_the_last_batch_is_small() -> None:
    objective = Pull()
    heard: list[tuple[int, int, Terms]] = []
    how = make_how(1, rate=1e-30, batch=2)
    how = Sgd(how.epochs, how.optimizer, how.seed, lambda *said: heard.append(said))
    with torch.no_grad():
        whole = objective(torch.from_numpy(make_inputs().features[:, 0].numpy()), torch.zeros(5))
    curves = how.fit(objective, stage(make_inputs()))
    assert curves == [pytest.approx({name: float(value.mean()) for name, value in whole.items()})]
    assert heard == [(1, 1, curves[0])]
    assert len(objective.modes) == 1 + 3


def test_no_epochs_change_nothing() -> None:
    objective = Pull()
    assert make_how(0).fit(objective, stage(make_inputs())) == []
    assert objective.point.tolist() == [1.0, -2.0]


def test_numbers_that_run_away_are_told_with_what_to_lower() -> None:
    with pytest.raises(RecipeError, match=r"diverged in epoch \d+: .*near.*; lower \[optimizer\] rate \(1e\+30\)"):
        make_how(9, rate=1e30).fit(Pull(), stage(make_inputs()))


def test_nothing_of_a_finished_stage_is_held() -> None:
    objective, how = Pull(), make_how(1, momentum=0.9)
    how.fit(objective, stage(make_inputs()))
    seen = weakref.ref(objective)
    del objective, how
    gc.collect()
    assert seen() is None
