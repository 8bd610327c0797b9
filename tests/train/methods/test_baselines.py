"""Baselines do what their theory says: closed forms know no order, plain fine-tuning forgets most."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from stpr.runtime.contract.sampling import ClipSpec
from stpr.train.methods import METHODS, method_of
from stpr.train.methods.build import build_model
from stpr.train.model.columns import Columns
from stpr.train.model.combiners.scores_alone import ScoresAlone
from stpr.train.model.scores.probe import LinearProbe, fit_logistic
from stpr.train.model.scores.ridge import RIDGES, SUREST, RidgeScores
from stpr.train.model.scores.samples import Samples
from stpr.train.model.stpr import StPR
from stpr.train.run.checkpoint import BackboneRecord, StageRecord, kept_tensors, restore
from stpr.train.settings.model import ProbeSettings, StatisticsSettings
from stpr.train.settings.recipe import Recipe
from tests.train.synthetic import (
    ADAPTED,
    FRAMES,
    OURS,
    STAGES,
    WIDTH,
    accuracy,
    learn,
    learn_one,
    learnt,
    make_features,
    make_inputs,
    make_recipe,
)

SCORED = ("streaming_lda", "ranpac", "linear_probe")
CLOSED = ("nearest_mean", "streaming_lda", "ranpac")
TRAINED = ("finetune", "lwf", "ewc", "spatial")
PARTS = (("mean",), ("mean", "difference", "deviation", "cosines"))
FEW = {"optimizer": {"epochs_first": 2, "epochs_later": 2}}
LONG = {"optimizer": {"epochs_first": 12, "epochs_later": 12}}
REVISITS = tuple(name for name, method in METHODS.items() if method.keeps_videos)
NAMES = tuple(name for stage in STAGES for name in stage)


def unseen() -> tuple[Tensor, Tensor]:
    """Test clips of all three stages, with more noise than the training clips have."""
    parts = [make_features(stage, clips=20, split=1) for stage in (1, 2, 3)]
    features = torch.cat([features for features, _ in parts])
    noise = torch.randn(features.shape, generator=torch.Generator().manual_seed(5))
    return features + 2 * noise, torch.cat([labels for _, labels in parts])


def learnt_in(order: tuple[int, ...], recipe: Recipe) -> tuple[StPR, list[int]]:
    """The network after stages in this order, and each of its classes' place in the usual one."""
    torch.manual_seed(recipe.seed)
    model, places = build_model(recipe), []
    for position, stage in enumerate(order):
        inputs = make_inputs(stage)
        places += [2 * stage - 2, 2 * stage - 1]
        inputs.labels = inputs.labels - 2 * (stage - 1) + 2 * position
        learn_one(model, STAGES[stage - 1], inputs, recipe, position + 1)
    return model.eval(), places


@pytest.mark.parametrize(
    "tables",
    [
        {"method": "nearest_mean"},
        *({"method": "streaming_lda", "statistics": {"parts": parts}} for parts in PARTS),
        *({"method": "ranpac", "statistics": {"parts": parts}, "seed": seed} for seed, parts in enumerate(PARTS)),
    ],
)
def test_closed_forms_do_not_know_the_order_of_stages(tables: dict[str, Any]) -> None:
    features, labels = unseen()
    recipe = make_recipe(**tables)
    found = []
    for order in permutations((1, 2, 3)):
        model, places = learnt_in(order, recipe)
        with torch.no_grad():
            # A posterior saturates, and would hide that two orders differ; what it was made of does not.
            statistics = model.head.combiner.statistics
            scores = model(features)[0] if statistics is None else statistics.log_likelihoods(statistics.read(features))
            assert torch.equal(model(features)[0].argmax(dim=1), scores.argmax(dim=1))
        found.append(torch.empty_like(scores))
        found[-1][:, places] = scores
    for scores in found[1:]:
        torch.testing.assert_close(scores, found[0], atol=1e-5 * float(scores.abs().max()), rtol=0)
        assert torch.equal(scores.argmax(dim=1), found[0].argmax(dim=1))
    assert float((found[0].argmax(dim=1) == labels).float().mean()) > 0.5


def test_nearest_mean_is_the_slow_computation() -> None:
    model = learnt(make_recipe(method="nearest_mean", **ADAPTED, fusion={"static": 0.3}))
    features, _ = unseen()
    with torch.no_grad():
        logits, routing = model(features)
    for row, clip in enumerate(features.double().numpy()[::7]):
        mean, cosines = clip.mean(axis=0), []
        for stage in (1, 2, 3):
            clips, labels = make_features(stage)
            for label in np.unique(labels.numpy()):
                centre = clips.double().numpy()[labels.numpy() == label].mean(axis=1).mean(axis=0)
                cosines.append(mean @ centre / np.linalg.norm(mean) / np.linalg.norm(centre))
        np.testing.assert_allclose(logits[7 * row].numpy(), cosines, atol=1e-5)
    assert torch.equal(routing, torch.ones(len(features), 1))


def slow_posterior(
    described: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]], clips: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Gaussian class posteriors from all clips at once, one class and one clip at a time."""
    rows, labels = np.concatenate([d for d, _ in described]), np.concatenate([y for _, y in described])
    means = [rows[labels == label].mean(axis=0) for label in range(labels.max() + 1)]
    centred = np.stack([row - means[label] for row, label in zip(rows, labels, strict=True)])
    covariance = centred.T @ centred / (len(rows) - len(means))
    covariance = 0.9 * covariance + 0.1 * np.diag(np.diag(covariance))  # the default shrinkage
    inverse = np.linalg.inv(covariance)
    exponents = np.array([[-0.5 * (clip - mean) @ inverse @ (clip - mean) for mean in means] for clip in clips])
    weights = np.exp(exponents - exponents.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("parts", PARTS)
def test_lda_is_the_gaussian_posterior(parts: tuple[str, ...]) -> None:
    model = learnt(make_recipe(method="streaming_lda", statistics={"parts": parts}))
    statistics = model.head.combiner.statistics
    assert statistics is not None
    features, _ = unseen()
    train = [make_features(stage) for stage in (1, 2, 3)]
    described = [(statistics.describe(clips).double().numpy(), labels.numpy()) for clips, labels in train]
    with torch.no_grad():
        logits, routing = model(features)
        likelihoods = statistics.log_likelihoods(statistics.read(features))
    posterior = slow_posterior(described, statistics.describe(features).double().numpy())
    np.testing.assert_allclose(torch.softmax(logits / 0.05, dim=1), posterior, atol=2e-3)  # the recipe's temperature
    assert torch.equal(logits.argmax(dim=1), likelihoods.argmax(dim=1))
    np.testing.assert_allclose(routing, posterior.reshape(-1, 3, 2).sum(axis=2), atol=2e-3)  # of each stage


@pytest.mark.parametrize("parts", PARTS)
def test_ranpac_is_the_ridge_regression_of_the_best_validation_error(parts: tuple[str, ...]) -> None:
    model = learnt(make_recipe(method="ranpac", statistics={"parts": parts}, ranpac={"projection": 40}))
    scores = model.head.combiner.statistics
    assert isinstance(scores, RidgeScores)
    clips = [make_features(stage) for stage in (1, 2, 3)]
    lifted = np.concatenate([scores.transform(scores.describe(features)).double().numpy() for features, _ in clips])
    wanted = np.eye(len(NAMES))[np.concatenate([labels.numpy() for _, labels in clips])]

    def solve(ridge: float) -> np.ndarray[Any, Any]:
        return np.asarray(np.linalg.solve(lifted.T @ lifted + ridge * np.eye(40), lifted.T))

    errors = {}
    for ridge in (RIDGES * np.trace(lifted.T @ lifted) / 40).tolist():
        hat = lifted @ solve(ridge)
        residual = ((wanted - hat @ wanted) ** 2).sum()
        errors[ridge] = len(hat) * residual / (len(hat) - np.trace(hat)) ** 2
    best = min(errors, key=errors.__getitem__)
    assert scores.chosen.tolist() == pytest.approx([best, max(errors[best] / len(NAMES), SUREST)], rel=1e-6)
    features, _ = unseen()
    with torch.no_grad():
        found = scores.log_likelihoods(scores.read(features)) * scores.chosen[1]
        points = scores.transform(scores.describe(features)).double().numpy()
        logits, routing = model(features)
    np.testing.assert_allclose(found, points @ solve(best) @ wanted, atol=1e-4)
    assert torch.equal(logits.argmax(dim=1), found.argmax(dim=1))
    torch.testing.assert_close(routing.sum(dim=1), torch.ones(len(routing)))


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_the_probe_minimises_its_objective(classes: int) -> None:
    """The gradient of mean cross-entropy + decay / 2 · |weight|² is zero there."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % classes
    features = torch.randn(90, 5, generator=rng, dtype=torch.float64) + 0.7 * labels[:, None]
    weight, bias = fit_logistic(features, labels, classes, decay=0.01)
    slope = (torch.softmax(features @ weight.T + bias, dim=1) - torch.eye(classes)[labels]) / 90
    torch.testing.assert_close(slope.T @ features + 0.01 * weight, torch.zeros_like(weight), atol=1e-7, rtol=0)
    torch.testing.assert_close(slope.sum(dim=0), torch.zeros_like(bias), atol=1e-7, rtol=0)
    assert (weight.shape, bias.shape) == ((classes, 5), (classes,))


def test_the_probe_does_not_depend_on_the_scale_of_its_features() -> None:
    plain, stretched = (learn_probe(factor) for factor in (1.0, 1000.0))
    torch.testing.assert_close(stretched, plain, atol=1e-3, rtol=1e-3)


def learn_probe(factor: float) -> Tensor:
    probe = LinearProbe(FRAMES, Columns(WIDTH), StatisticsSettings(), ProbeSettings())
    clips = [make_features(stage) for stage in (1, 2, 3)]
    features, labels = (torch.cat(column) for column in zip(*clips, strict=True))
    probe.update(Samples(factor * features, labels, torch.arange(len(labels))), 6)
    return probe.log_likelihoods(probe.read(factor * unseen()[0]))


def test_lda_hears_the_posterior_alone_however_close_the_classes() -> None:
    model = learnt(make_recipe(method="streaming_lda"))
    statistics = model.head.combiner.statistics
    assert statistics is not None
    many = 3 * torch.randn(5000, FRAMES, WIDTH, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        likelihoods = statistics.log_likelihoods(statistics.read(many))
        assert torch.equal(model(many)[0].argmax(dim=1), likelihoods.argmax(dim=1))


@pytest.mark.parametrize("method", SCORED)
def test_scores_tell_more_classes_than_a_frame_has_features(method: str) -> None:
    model = learnt(make_recipe(method=method, backbone={"projection": 3}))
    assert model(make_features(1)[0])[0].shape[1] == 6
    assert len(model.head.experts) == 0


@pytest.mark.parametrize("method", CLOSED)
def test_closed_forms_train_nothing(method: str) -> None:
    recipe = make_recipe(method=method, **ADAPTED)
    for model, curves in learn(recipe):
        assert curves == []
        assert len(model.head.experts) == 0
        features = make_features(1)[0]
        with torch.no_grad():
            torch.testing.assert_close(model.encoder(features), features)


@dataclass(frozen=True)
class Outcome:
    """What came of three stages."""

    lost: float  # by how much the earlier stages' accuracies fell in all, from when they were learnt to the end
    clean: int  # right of 120 clips as noisy as the training clips
    noisy: int  # right of 120 clips much noisier than those


@torch.no_grad()
def right(model: StPR, features: Tensor, labels: Tensor) -> int:
    return int((model(features)[0].argmax(dim=1) == labels).sum())


def outcome(**tables: Any) -> Outcome:
    just_learnt = []
    for stage, (model, _) in enumerate(learn(make_recipe(**{**OURS, **LONG, **tables})), start=1):
        just_learnt.append(accuracy(model, stage))
    after = [accuracy(model, stage) for stage in (1, 2, 3)]
    lost = sum(then - now for then, now in zip(just_learnt[:2], after[:2], strict=True))
    return Outcome(lost, round(40 * sum(after)), right(model, *unseen()))


@pytest.fixture(scope="module", params=[0, 1, 2], ids=lambda seed: f"seed {seed}")
def outcomes(request: pytest.FixtureRequest) -> dict[str, Outcome]:
    """Every method with the same settings where it has them."""
    return {method: outcome(method=method, seed=request.param) for method in METHODS}


def test_plain_finetuning_forgets_most(outcomes: dict[str, Outcome]) -> None:
    lost = {method: found.lost for method, found in outcomes.items()}
    assert lost["finetune"] > 0.5
    assert max(lost.values()) == lost["finetune"]
    assert max(lost["lwf"], lost["ewc"]) < lost["finetune"] - 0.02  # two clips of 80
    assert lost["stpr"] < 0.2
    assert max(lost[method] for method in (*CLOSED, *REVISITS)) <= 0.05


def test_joint_training_is_best_or_tied(outcomes: dict[str, Outcome]) -> None:
    assert outcomes["joint"].clean >= max(found.clean for found in outcomes.values())
    # Where nobody is perfect, what trains the same network on a part of the clips at a time is behind.
    assert outcomes["joint"].noisy > max(outcomes[method].noisy for method in TRAINED)


def test_a_linear_probe_is_no_worse_than_nearest_means(outcomes: dict[str, Outcome]) -> None:
    assert outcomes["linear_probe"].clean >= outcomes["nearest_mean"].clean
    assert outcomes["linear_probe"].noisy >= outcomes["nearest_mean"].noisy


def reloaded(file: Path, model: StPR, recipe: Recipe, stage: int) -> StPR:
    """Saved and given to a freshly built network, as a stage checkpoint is."""
    save_file(kept_tensors(model), file)
    record = StageRecord(
        stage=stage,
        stages=STAGES[:stage],
        clip=ClipSpec(frames=FRAMES, span_seconds=1.5),
        preprocess=model.encoder.backbone.spec,
        temperature=0.05,
        unknown=None,
        backbone=BackboneRecord(source="tiny", digest=""),
        method=recipe.method,
        seed=recipe.seed,
        sha256="",
        kept=(),
    )
    fresh = build_model(recipe)
    restore(fresh, load_file(file), record, method_of(recipe).grow)
    return fresh.eval()


@pytest.mark.parametrize("method", [*CLOSED, *TRAINED])
def test_a_reloaded_stage_gives_the_same_bits_and_learns_on_the_same(method: str, tmp_path: Path) -> None:
    recipe = make_recipe(method=method, **OURS, **ADAPTED, **FEW)
    runs = learn(recipe)
    next(runs)
    model, _ = next(runs)
    again = reloaded(tmp_path / "model.safetensors", model, recipe, 2)
    features, _ = unseen()
    with torch.no_grad():
        for expected, found in zip(model(features), again(features), strict=True):
            assert torch.equal(expected, found)
    learn_one(again, STAGES[2], make_inputs(3), recipe, 3)
    model, _ = next(runs)
    resumed = kept_tensors(again)
    assert all(torch.equal(value, resumed[name]) for name, value in kept_tensors(model).items())


@pytest.mark.parametrize("method", [*CLOSED, *TRAINED, *REVISITS])
def test_what_is_kept_does_not_grow_with_clips(method: str) -> None:
    recipe = make_recipe(method=method, **OURS, **ADAPTED, **FEW)
    few, many = (
        {name: value.shape for name, value in kept_tensors(learnt(recipe, clips=clips)).items()} for clips in (6, 30)
    )
    assert few == many


@pytest.mark.parametrize("method", [*CLOSED, *TRAINED, *REVISITS])
def test_a_later_stage_adds_rows_of_its_classes_alone(method: str) -> None:
    grown = {"head.class_vectors", "head.anchors", "head.statistics.views.0.means", "head.statistics.sums"}
    grown |= {"head.statistics.weight", "head.statistics.bias"}
    kept = [
        {name: value.shape for name, value in kept_tensors(model).items()}
        for model, _ in learn(make_recipe(method=method, **OURS, **ADAPTED, **FEW))
    ]
    for number, shapes in enumerate(kept, start=1):
        assert set(shapes) == set(kept[0])
        for name, shape in shapes.items():
            assert shape == ((2 * number, *shape[1:]) if name in grown else kept[0][name])


@pytest.mark.parametrize("method", METHODS)
def test_logits_and_routing_have_their_shapes(method: str) -> None:
    model = learnt(make_recipe(method=method, router={"kind": "softmax"}, **FEW))
    with torch.no_grad():
        logits, routing = model(unseen()[0])
    assert logits.shape == (len(unseen()[0]), len(NAMES))
    assert routing.shape == (len(logits), 3 if METHODS[method].by_stage else 1)
    assert logits.isfinite().all()
    torch.testing.assert_close(routing.sum(dim=1), torch.ones(len(logits)))
    if not isinstance(model.head.combiner, ScoresAlone):  # cosines
        assert logits.abs().max() <= 1 + 1e-5
