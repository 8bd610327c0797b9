"""What a stage may change and what it must leave alone, stage after stage, on made-up features."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stpr.runtime.contract.errors import RecipeError
from stpr.train.losses.preservation import importance, preservation
from stpr.train.methods import METHODS, check_names, method_of
from stpr.train.methods.build import build_model
from stpr.train.methods.heads import single_expert
from stpr.train.methods.objective import ImportanceMemory, Objective
from stpr.train.model.stpr import StPR
from stpr.train.run.checkpoint import kept_tensors
from tests.train.synthetic import (
    ADAPTED,
    OURS,
    STAGES,
    accuracy,
    fusion_of,
    learn,
    learn_one,
    learnt,
    make_features,
    make_inputs,
    make_recipe,
)

SUMS = (
    "head.combiner.statistics.views.0.scatter",
    "head.combiner.statistics.count",
    "head.combiner.calibration",
)
ONE_BATCH = {"optimizer": {"batch": 24, "epochs_first": 3, "epochs_later": 3}}


def importance_of(model: StPR) -> Tensor:
    assert isinstance(model.memory, ImportanceMemory)
    return model.memory.importance


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Tensors that were there and are not the same, rows that were added left aside."""
    return {
        name
        for name, value in before.items()
        if not torch.equal(value, after[name][: len(value)] if value.ndim else after[name])
    }


@pytest.mark.parametrize("method", ["finetune", "lwf", "ewc", "joint"])
def test_a_method_of_one_expert_refuses_to_have_none(method: str) -> None:
    recipe = make_recipe(method=method, expert={"layers": 0}, fusion={"kind": "posteriors"})
    with pytest.raises(RecipeError, match=re.escape("[expert] layers = 0 leaves the method nothing to learn; use 1")):
        build_model(recipe)


@pytest.mark.parametrize("tables", [ADAPTED, {**OURS, **ADAPTED}, OURS, {**ADAPTED, "expert": {"start": "fresh"}}])
def test_a_later_stage_changes_adapters_and_shared_statistics_alone(tables: dict[str, Any]) -> None:
    before: dict[str, Tensor] = {}
    for number, (model, _) in enumerate(learn(make_recipe(**tables)), start=1):
        after = snapshot(model)
        assert len(model.head.experts) == number
        assert len(after["head.combiner.class_vectors"]) == len(after["head.combiner.anchors"]) == 2 * number
        allowed = ("encoder.adapter.", "head.combiner.membership", *SUMS)
        moved = changed(before, after)
        assert all(name.startswith(allowed) for name in moved)
        if before and tables.get("adapter"):
            assert {"encoder.adapter.up.weight", "encoder.adapter.down.weight"} <= moved
        before = after


def test_a_stage_trains_its_expert_and_all_of_it() -> None:
    start = snapshot(build_model(make_recipe(**ADAPTED)))
    torch.manual_seed(0)
    first, second = (
        {k: v.clone() for k, v in kept_tensors(m).items()} for m, _ in learn(make_recipe(**ADAPTED), stages=2)
    )
    learnt_now = [name for name in second if name.startswith("head.experts.1.")]
    assert learnt_now
    # A copy of the expert before it, so what is the same was never trained.
    same = [n for n in learnt_now if torch.equal(second[n], first[n.replace("experts.1", "experts.0")])]
    assert same == []
    assert not torch.equal(first["encoder.adapter.up.weight"], start["encoder.adapter.up.weight"])


@pytest.mark.parametrize("start", ["copy", "fresh"])
def test_a_new_expert_begins_as_told(start: str) -> None:
    still = {"expert": {"start": start}, "optimizer": {"epochs_first": 6, "epochs_later": 0}}
    model = learnt(make_recipe(**still), stages=2)
    first, second = (expert.state_dict() for expert in model.head.experts)
    alike = all(torch.equal(first[name], second[name]) for name in first)
    assert alike is (start == "copy")
    if start == "fresh":
        assert not any(second[f"blocks.0.{name}.weight"].any() for name in ("out", "down"))


def test_anchors_are_class_means_of_the_temporal_part_and_stay() -> None:
    kept: list[Tensor] = []
    for number, (model, _) in enumerate(learn(make_recipe(**ADAPTED)), start=1):
        features, labels = make_features(number)
        with torch.no_grad():
            encoded = model.encoder(features)
            temporal = model.head.experts[-1](encoded) - encoded.mean(dim=1)
        kept += [temporal[labels == label].mean(dim=0) for label in labels.unique()]
        torch.testing.assert_close(fusion_of(model).anchors, torch.stack(kept))


def test_the_teacher_is_the_encoder_before_and_does_not_move(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, teachers = make_recipe(**ADAPTED), []
    before: list[dict[str, Tensor]] = []
    built = Objective.__init__

    def watch(self: Objective, *args: Any, **kwargs: Any) -> None:
        built(self, *args, **kwargs)
        teachers.append(args[3] if len(args) > 3 else None)
        before.append(snapshot(args[0]))

    monkeypatch.setattr(Objective, "__init__", watch)
    models = [model for model, _ in learn(recipe, stages=2)]
    assert teachers[0] is None
    assert teachers[1] is not None
    held = teachers[1].encoder
    assert changed(before[1], held.state_dict()) == set()
    assert changed(before[1], models[1].encoder.state_dict()) != set()
    assert not any(value.requires_grad for value in held.parameters())
    assert not held.training
    # The frozen network is shared, not held twice.
    assert next(held.backbone.parameters()) is next(models[1].encoder.backbone.parameters())


@pytest.mark.parametrize("classes", ["new", "old"])
def test_preservation_is_nothing_at_the_first_step_and_grows(classes: str) -> None:
    recipe = make_recipe(**ADAPTED, preservation={"classes": classes}, **ONE_BATCH)
    curves = [curve for _, curve in learn(recipe)]
    assert all("preservation" not in terms for terms in curves[0])
    for curve in curves[1:]:
        held = [terms["preservation"] for terms in curve]
        assert held[0] == 0.0
        assert held[1] > 0.0


def test_terms_are_logged_as_they_are_weighted() -> None:
    def held(weight: float) -> list[float]:
        recipe = make_recipe(**ADAPTED, preservation={"weight": weight}, **ONE_BATCH)
        return [terms.get("preservation", -1.0) for terms in list(learn(recipe, stages=2))[1][1]]

    # After one step, which the term itself (zero then) has not bent yet, it is proportional to its weight.
    assert held(2e4)[1] == pytest.approx(2 * held(1e4)[1], rel=1e-4)
    assert held(0.0) == [-1.0, -1.0, -1.0]  # not computed at all


def test_a_stronger_hold_moves_the_features_less() -> None:
    large = {**ADAPTED["adapter"], "scale": 1.0}

    def drift(weight: float) -> float:
        runs = learn(make_recipe(adapter=large, preservation={"weight": weight}), stages=2)
        features = make_features(1)[0]
        first = next(runs)[0].encoder(features).detach()
        return float((next(runs)[0].encoder(features).detach() - first).square().mean())

    assert drift(1e4) < 0.5 * drift(1e3) < 0.5 * drift(0.0)


def test_stored_importance_is_that_of_old_classes_averaged() -> None:
    recipe = make_recipe(**ADAPTED, preservation={"classes": "old"}, **ONE_BATCH)
    expected: list[Tensor] = []
    for number, (model, _) in enumerate(learn(recipe), start=1):
        features, labels = make_features(number)
        with torch.no_grad():
            vectors = fusion_of(model).class_vectors[2 * number - 2 :]
            now = importance(model.encoder(features), labels - 2 * number + 2, vectors, recipe.preservation)
        expected.append(now)
        torch.testing.assert_close(importance_of(model), torch.cat(expected))
    assert "memory.importance" in kept_tensors(model)


@pytest.mark.parametrize("classes", ["new", "old"])
def test_the_term_is_the_formula_on_the_clips_of_the_batch(classes: str) -> None:
    recipe = make_recipe(**ADAPTED, preservation={"classes": classes}, **ONE_BATCH)
    runs = learn(recipe, stages=2)
    model, _ = next(runs)
    features, labels = make_features(2)
    stored = importance_of(model).clone()
    with torch.no_grad():
        old = model.encoder(features)
    model, _ = next(runs)
    teacher_side = {
        "new": importance(old, labels - 2, fusion_of(model).class_vectors[2:], recipe.preservation)[labels - 2],
        "old": stored.mean(dim=0, keepdim=True) if len(stored) else torch.zeros(1, 1),
    }[classes]
    with torch.no_grad():
        static, before = model.encoder(features).mean(dim=1), old.mean(dim=1)
        found = preservation(static, before, teacher_side, normalise=True).mean()
        slow = (
            teacher_side * (before / before.norm(dim=1, keepdim=True) - static / static.norm(dim=1, keepdim=True)) ** 2
        )
    assert float(found) == pytest.approx(float(slow.mean()), rel=1e-3)
    assert float(found) > 0


def test_random_negatives_raise_the_loss_and_none_is_kept() -> None:
    plain, crowded = (
        make_recipe(contrast={"random_negatives": many, "temperature": 1.0}, **ONE_BATCH) for many in (0, 50)
    )
    (few, first), (many, second) = (next(learn(recipe, stages=1)) for recipe in (plain, crowded))
    assert second[0]["contrast_st"] > first[0]["contrast_st"] + 0.5
    assert fusion_of(few).class_vectors.shape == fusion_of(many).class_vectors.shape
    assert {name: value.shape for name, value in kept_tensors(few).items()} == {
        name: value.shape for name, value in kept_tensors(many).items()
    }


def test_negatives_are_all_classes_so_far_or_those_of_the_stage() -> None:
    sharp = {"optimizer": {"batch": 24, "epochs_first": 1, "epochs_later": 1}}
    seen, current = (
        [curve[0]["contrast_s"] for _, curve in learn(make_recipe(contrast={"negatives": kind}, **sharp))]
        for kind in ("seen", "current")
    )
    assert seen[0] == current[0]
    assert seen[1] > current[1]
    assert seen[2] > current[2]


def test_the_spatial_term_can_be_left_out() -> None:
    _, curve = next(learn(make_recipe(contrast={"spatial": False}), stages=1))
    assert set(curve[0]) == {"contrast_st"}


def test_plain_finetuning_forgets_and_ours_does_not() -> None:
    plain, ours = (learn(make_recipe(method=method, **OURS)) for method in ("finetune", "stpr"))
    after: dict[str, list[float]] = {}
    for name, runs in (("plain", plain), ("ours", ours)):
        after[name] = [accuracy(model, 1) for model, _ in runs]
    assert after["plain"][0] > 0.8
    assert after["plain"][2] < 0.4
    assert min(after["ours"]) > 0.9


def test_finetuning_has_one_expert_that_goes_on() -> None:
    before: dict[str, Tensor] = {}
    for number, (model, _) in enumerate(learn(make_recipe(method="finetune")), start=1):
        assert len(model.head.experts) == 1
        assert len(fusion_of(model).class_vectors) == 2 * number
        after = snapshot(model.head.experts)
        if before:
            assert changed(before, after) == set(after)
        before = after


@pytest.mark.parametrize(
    "tables", [{**OURS, **ADAPTED}, {"method": "finetune"}, {"expert": {"dropout": 0.5, "start": "fresh"}}]
)
def test_the_same_seed_gives_the_same_bits_and_another_does_not(tables: dict[str, Any]) -> None:
    first, again, other = (kept_tensors(learnt(make_recipe(seed=seed, **tables), stages=2)) for seed in (3, 3, 4))
    assert set(first) == set(again)
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first["head.experts.0.positions"], other["head.experts.0.positions"])


def test_methods_are_found_by_the_names_that_recipes_use() -> None:
    for name, method in METHODS.items():
        assert method_of(make_recipe(method=name)) is method
    with pytest.raises(RecipeError, match=r"method must be one of stpr, .*, not 'spr' \(did you mean 'stpr'\?\)\."):
        method_of(make_recipe(method="spr"))


def test_one_class_at_a_time_can_be_learnt() -> None:
    recipe = make_recipe(**ADAPTED)
    model = build_model(recipe)
    for stage, name in enumerate(("a", "b"), start=1):
        inputs = make_inputs(1)
        rows = inputs.labels == stage - 1
        inputs.features, inputs.labels = inputs.features[rows], inputs.labels[rows]
        learn_one(model, (name,), inputs, recipe, stage)
    assert len(STAGES[0]) == len(fusion_of(model).class_vectors) == len(model.head.experts)
    assert accuracy(model.eval(), 1) > 0.9


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.head is single_expert])
def test_a_method_of_one_expert_without_layers_is_refused_before_any_work(method: str) -> None:
    recipe = make_recipe(method=method, expert={"layers": 0}, fusion={"kind": "posteriors"})
    with pytest.raises(RecipeError, match=rf'layers = 0 leaves method = "{method}" nothing to learn'):
        check_names(recipe)
    check_names(make_recipe(method="stpr", expert={"layers": 0}, fusion={"kind": "posteriors"}))


@pytest.mark.parametrize("method", METHODS)
def test_a_baseline_is_built_whatever_our_statistics_are_asked_to_do(method: str) -> None:
    ours: dict[str, Any] = {
        "parts": ["mean"],
        "motion": {"parts": ["mean"]},
        "rhythm": True,
        "affine": True,
        "relative_motion": True,
        "mirror": True,
        "near": True,
        "draws": True,
        "likelihood": "cosine",
        "concentration": "learnt",
        "unknown": "direction",
        "events": True,
    }
    motion, posteriors = {"motion": 4}, {"kind": "posteriors"}
    model = build_model(make_recipe(method=method, sampling=motion, statistics=ours, fusion=posteriors))
    assert isinstance(model, StPR)
