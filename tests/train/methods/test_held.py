"""Learning without forgetting and elastic weight consolidation: what they hold, and that it is what is written."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from stpr.train.learning.fit import Terms
from stpr.train.learning.inputs import FrozenFeatures
from stpr.train.learning.stage_clips import StageClips
from stpr.train.methods.build import build_model
from stpr.train.methods.ewc import EwcObjective, FisherMemory, fisher
from stpr.train.methods.finetune import plain_objective
from stpr.train.methods.lwf import distillation
from stpr.train.methods.objective import Objective
from stpr.train.model.stpr import StPR
from stpr.train.run.checkpoint import kept_tensors
from stpr.train.settings.recipe import Recipe
from tests.train.synthetic import ADAPTED, OURS, STAGES, learn, learnt, make_features, make_inputs, make_recipe

FEW = {"optimizer": {"epochs_first": 2, "epochs_later": 2}}
LONG = {"optimizer": {"epochs_first": 12, "epochs_later": 12}}


def start(recipe: Recipe, inputs: FrozenFeatures) -> Objective:
    """The plain objective of a first stage."""
    model = build_model(recipe)
    return plain_objective(model, StageClips(STAGES[0], inputs, model.encoder), recipe)


def fisher_of(model: StPR) -> Tensor:
    assert isinstance(model.memory, FisherMemory)
    return model.memory.fisher


@pytest.mark.parametrize("method", ["lwf", "ewc"])
def test_what_is_held_costs_nothing_at_the_first_step(method: str) -> None:
    one_batch = {"optimizer": {"batch": 24, "epochs_first": 3, "epochs_later": 3}}
    term = {"lwf": "distillation", "ewc": "penalty"}[method]
    # Without draws the one batch is the same in every epoch.
    curves: list[list[Terms]] = [curve for _, curve in learn(make_recipe(method=method, **OURS, **one_batch))]
    assert all(term not in terms for terms in curves[0])
    for curve in curves[1:]:
        held = [terms[term] for terms in curve]
        assert held[0] == pytest.approx(0.0, abs=1e-5)
        assert min(held[1:]) > 10 * abs(held[0])


@pytest.mark.parametrize("method", ["lwf", "ewc"])
def test_without_weight_it_is_plain_finetuning(method: str) -> None:
    plain, held, free = (
        kept_tensors(learnt(make_recipe(**OURS, **ADAPTED, **FEW, **tables), stages=2))
        for tables in ({"method": "finetune"}, {"method": method}, {"method": method, method: {"weight": 0.0}})
    )
    assert all(torch.equal(value, free[name]) for name, value in plain.items())
    assert not all(torch.equal(value, held[name]) for name, value in plain.items())


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_distillation_is_the_softened_divergence(temperature: float) -> None:
    new, old = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0)).unbind()
    p, q = (np.exp(x.double().numpy() / temperature) for x in (old, new))
    p, q = p / p.sum(axis=1, keepdims=True), q / q.sum(axis=1, keepdims=True)
    slow = temperature**2 * np.mean(
        [sum(a * np.log(a / b) for a, b in zip(*rows, strict=True)) for rows in zip(p, q, strict=True)]
    )
    assert float(distillation(new, old, temperature=temperature).mean()) == pytest.approx(slow, rel=1e-5)
    assert float(distillation(old, old, temperature=temperature).abs().max()) == pytest.approx(0.0, abs=1e-7)


def test_distillation_holds_old_posteriors_on_new_clips() -> None:
    clips = make_features(2)[0]

    def moved(weight: float) -> float:
        runs = learn(make_recipe(**{**OURS, **LONG}, method="lwf", lwf={"weight": weight}), stages=2)
        before, after = ((model(clips)[0][:, :2] / 0.1).softmax(dim=1).detach() for model, _ in runs)
        return float(F.kl_div(after.log(), before, reduction="batchmean"))

    assert moved(2.0) < 0.5 * moved(0.0)


def test_fisher_is_the_mean_square_of_one_clips_gradients() -> None:
    recipe, inputs = make_recipe(**OURS), make_inputs(1, clips=2)
    objective = start(recipe, inputs)
    found = fisher(objective, inputs)
    assert objective.expert is not None
    trained = dict(objective.expert.named_parameters())
    slow = {name: torch.zeros_like(value) for name, value in trained.items()}
    candidates = F.normalize(objective.contrast.candidates, dim=1)
    for clip, label in zip(inputs.features[:, 0], inputs.labels, strict=True):
        scores = F.normalize(objective.expert(clip[None]), dim=1) @ candidates.T / 0.05
        objective.zero_grad()
        (0.5 * F.cross_entropy(scores, label[None])).backward()  # the other half is zero for a clip alone
        for name, value in trained.items():
            if value.grad is not None:
                slow[name].add_(value.grad.square() / 4)
    torch.testing.assert_close(found, torch.cat([value.flatten() for value in slow.values()]), rtol=1e-4, atol=1e-9)
    assert found.max() > 0


def test_penalty_is_the_weighted_square_of_the_move() -> None:
    recipe, inputs = make_recipe(**OURS), make_inputs(1)
    objective = start(recipe, inputs)
    values = [value for value in objective.parameters() if value.requires_grad]
    importance = torch.rand(sum(value.numel() for value in values), generator=torch.Generator().manual_seed(1))
    anchored = EwcObjective(objective, importance, 8.0)
    with torch.no_grad():
        for value in values:
            value.add_(0.5)
    terms = anchored.terms(anchored(inputs.features[:, 0], inputs.labels), inputs.labels)
    assert float(terms["penalty"].detach()) == pytest.approx(8.0 / 2 * 0.25 * float(importance.sum()), rel=1e-4)
    assert set(terms) == {"contrast_st", "penalty"}


def test_importance_is_summed_over_stages_and_each_weighs_alike() -> None:
    kept = [fisher_of(model).clone() for model, _ in learn(make_recipe(**OURS, **ADAPTED, method="ewc"))]
    assert float(kept[0].max()) == pytest.approx(1.0)
    for before, after in pairwise(kept):
        assert float((after - before).max()) == pytest.approx(1.0, abs=1e-5)
        assert float((after - before).min()) >= 0.0
