"""An expert is trusted where held-out clips bear it out, and not for luck."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from stpr.train.learning.stage_clips import StageClips
from stpr.train.methods.build import build_model
from stpr.train.model.combiners.mixture import Mixture
from stpr.train.model.scores.reading import Reading
from stpr.train.model.scores.reliability import PRIOR, UNKNOWN
from stpr.train.model.stpr import StPR
from stpr.train.run.open_set_metrics import Floats
from stpr.train.run.stage import learn_stage
from stpr.train.run.trust import MOST, Losses, fit_trust, significant_trust
from tests.train.synthetic import OURS, STAGES, make_fit, make_inputs, make_recipe

POSTERIORS = {**OURS, "fusion": {"kind": "posteriors"}, "unknown": {"holdout": 0.5}}
LABELS = torch.arange(60) % 3


def losses_of(scores: Tensor, said: Tensor) -> Losses:
    def losses(trust: float) -> Floats:
        return np.asarray(F.cross_entropy(scores + trust * said, LABELS, reduction="none"))

    return losses


def unsure(seed: int) -> Tensor:
    """Scores of three classes that know little."""
    return torch.randn(60, 3, generator=torch.Generator().manual_seed(seed)) + 0.5 * F.one_hot(LABELS, 3)


def cosines(skill: float, seed: int) -> Tensor:
    noise = 0.3 * torch.randn(60, 3, generator=torch.Generator().manual_seed(seed))
    return (noise + skill * F.one_hot(LABELS, 3)).clamp(-1, 1)


def test_an_expert_that_is_right_where_scores_are_unsure_is_trusted_by_what_serves_best() -> None:
    losses = losses_of(unsure(0), cosines(0.5, 1))
    found = significant_trust(losses)
    costs = {trust: losses(trust).sum() + PRIOR * (trust / UNKNOWN) ** 2 / 2 for trust in np.linspace(0, MOST, 1001)}
    assert found == pytest.approx(min(costs, key=lambda trust: costs[trust]), abs=0.5)
    assert found > 2
    more = significant_trust(lambda trust: np.tile(losses(trust), 10))
    assert more > found + 0.1  # of few clips, much of the gain may be chance


def test_a_noisy_expert_is_hardly_ever_trusted() -> None:
    trusts = [significant_trust(losses_of(unsure(seed), cosines(0.0, 1000 + seed))) for seed in range(40)]
    assert sum(trust > 0 for trust in trusts) <= 4  # chance does it once in twenty times


def test_an_expert_that_is_wrong_or_says_what_is_known_is_not_trusted() -> None:
    assert significant_trust(losses_of(unsure(0), cosines(-0.5, 1))) == 0
    sure = 50.0 * F.one_hot(LABELS, 3)
    assert significant_trust(losses_of(sure, cosines(0.5, 1))) == 0


@pytest.mark.parametrize("clips", [1, 2])
def test_of_one_clip_nothing_is_sure(clips: int) -> None:
    def losses(trust: float) -> Floats:
        return np.full(clips, 1 / (1 + trust))  # alike in every clip

    assert (significant_trust(losses) > 0) == (clips > 1)


def second_stage(skill: float, monkeypatch: pytest.MonkeyPatch) -> Mixture:
    """A model after two stages, whose newest expert knows so much of its held-out clips."""
    recipe = make_recipe(**POSTERIORS, optimizer={"epochs_first": 0, "epochs_later": 0})
    model = build_model(recipe)
    for stage in (1, 2):
        learn_stage(model, STAGES[stage - 1], make_inputs(stage), recipe, make_fit(recipe, stage))
    combiner = model.head.combiner
    assert isinstance(combiner, Mixture)
    held = StageClips(STAGES[1], make_inputs(2), model.encoder)
    labels = held.labels_from(2)

    def expert_scores(outputs: Tensor) -> Tensor:
        noise = 0.1 * torch.randn(len(outputs), 4, generator=torch.Generator().manual_seed(0))
        noise[:, :2] = 1.0  # what the older expert says of its own classes has no part in this
        return noise + skill * F.pad(F.one_hot(labels, 2), (2, 0))

    def scores(clips: Reading) -> Tensor:
        return torch.randn(len(clips.features), 4, generator=torch.Generator().manual_seed(1))

    monkeypatch.setattr(combiner, "expert_scores", expert_scores)
    monkeypatch.setattr(combiner.statistics, "log_likelihoods", scores)
    combiner.trust = torch.tensor([7.0, 3.0])
    fit_trust(model, held)
    return combiner


def test_the_newest_expert_is_weighed_on_its_own_classes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    trusted, useless = second_stage(0.8, monkeypatch), second_stage(0.0, monkeypatch)
    assert trusted.trust[0] == useless.trust[0] == 7
    assert trusted.trust[1] > 1
    assert useless.trust[1] == 0


def learnt(**tables: object) -> tuple[StPR, Tensor]:
    recipe = make_recipe(**{**POSTERIORS, **tables})
    model = build_model(recipe)
    trusts = []
    for stage in (1, 2, 3):
        learn_stage(model, STAGES[stage - 1], make_inputs(stage), recipe, make_fit(recipe, stage))
        assert isinstance(model.head.combiner, Mixture)
        trusts.append(model.head.combiner.trust.clone())
    assert torch.equal(trusts[2][:2], trusts[1])
    assert torch.equal(trusts[1][:1], trusts[0])
    return model, trusts[2]


def test_a_stage_weighs_its_expert_and_leaves_the_others() -> None:
    model, trust = learnt()
    assert len(trust) == len(model.head.experts) == 3
    assert ((trust >= 0) & (trust <= MOST)).all()


def test_without_experts_there_is_nobody_to_trust() -> None:
    model, trust = learnt(expert={"layers": 0})
    assert len(model.head.experts) == 0
    assert (trust == 0).all()
    logits, routing = model(make_inputs(1).features[:, 0])
    assert (logits.shape[1], routing.shape[1]) == (6, 3)
