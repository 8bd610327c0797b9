"""Routing and fusion against a slow reading of method §4.3 and §4.4."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import torch

from stpr.runtime.contract.errors import RecipeError
from stpr.train.model.columns import Columns
from stpr.train.model.combiners.fusion import Fusion
from stpr.train.model.head import Head
from stpr.train.model.routing import ROUTERS, router_of
from stpr.train.model.scores.samples import Samples
from stpr.train.model.scores.statistics import ClipStatistics
from stpr.train.model.scores.view import View
from stpr.train.settings.model import ExpertSettings, FusionSettings, RouterSettings, StatisticsSettings
from tests.train.synthetic import fusion_of

PLAIN, PAPER = RouterSettings(), FusionSettings()
STAGES = (2, 1, 3)
FRAMES, WIDTH = 4, 8
COLUMNS = Columns(WIDTH)


def new_head(
    router: RouterSettings = PLAIN,
    fusion: FusionSettings = PAPER,
    statistics: StatisticsSettings | None = None,
) -> Head:
    scores = None if statistics is None else ClipStatistics(FRAMES, COLUMNS, statistics)
    combiner = Fusion(COLUMNS, router=router, fusion=fusion, statistics=scores)
    return Head(frames=FRAMES, columns=COLUMNS, combiner=combiner, expert=ExpertSettings(layers=1, width=0))


def make_head(
    router: RouterSettings = PLAIN,
    fusion: FusionSettings = PAPER,
    statistics: StatisticsSettings | None = None,
) -> Head:
    """Three stages with random contents everywhere."""
    torch.manual_seed(0)
    head = new_head(router, fusion, statistics)
    for classes in STAGES:
        head.add_stage(classes, torch.randn(classes, WIDTH))
        if head.combiner.statistics is not None:
            labels = torch.arange(classes).repeat(12)
            clips = torch.randn(len(labels), FRAMES, WIDTH)
            head.combiner.statistics.update(Samples(clips, labels, torch.arange(len(labels))), classes)
    anchors = fusion_of(head).anchors
    anchors.copy_(torch.randn_like(anchors))
    with torch.no_grad():
        for value in head.experts.parameters():
            value.copy_(0.3 * torch.randn(value.shape))
    return head.double().eval()


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / math.sqrt(a @ a) / math.sqrt(b @ b))


def slow_scores(head: Head, features: np.ndarray, outputs: np.ndarray) -> list[float]:
    """r_k = max over c in C_k of cos(V^tem_k, anchor_c), for one clip."""
    anchors, first, scores = fusion_of(head).anchors.numpy(), 0, []
    for output, classes in zip(outputs, STAGES, strict=True):
        temporal = output - features.mean(axis=0)
        scores.append(max(cosine(temporal, anchor) for anchor in anchors[first : first + classes]))
        first += classes
    return scores


def slow_weights(kind: str, scores: list[float], temperature: float) -> list[float]:
    if kind == "raw":
        return scores
    if kind == "softmax":
        shares = [math.exp(score / temperature) for score in scores]
        return [share / sum(shares) for share in shares]
    if kind == "top1":
        return [1.0 if score == max(scores) else 0.0 for score in scores]
    return [1 / len(scores)] * len(scores)


@pytest.mark.parametrize("kind", ["raw", "softmax", "top1", "equal"])
def test_routing_and_fusion_are_the_formulas(kind: str) -> None:
    head = make_head(router=RouterSettings(kind=kind, temperature=0.3))
    clips = torch.randn(5, FRAMES, WIDTH, dtype=torch.float64)
    with torch.no_grad():
        logits, routing = head(clips)
        outputs = torch.stack([expert(clips) for expert in head.experts], dim=1).numpy()
    for row, clip in enumerate(clips.numpy()):
        scores = [0.0] * len(STAGES) if kind == "equal" else slow_scores(head, clip, outputs[row])
        weights = slow_weights(kind, scores, 0.3)
        np.testing.assert_allclose(routing[row], weights, atol=1e-12)
        static = clip.mean(axis=0)
        fused = static / np.linalg.norm(static)
        for weight, output in zip(weights, outputs[row], strict=True):
            fused = fused + weight * output / np.linalg.norm(output)
        expected = [cosine(fused, vector) for vector in fusion_of(head).class_vectors.numpy()]
        np.testing.assert_allclose(logits[row], expected, atol=1e-12)


def test_routers_are_found_by_the_names_that_recipes_use() -> None:
    for kind, router in ROUTERS.items():
        assert router_of(RouterSettings(kind=kind)) is router
        assert new_head(RouterSettings(kind=kind)).combiner.reads_unadapted is router.reads_unadapted
    said = r"\[router\] kind must be one of raw, softmax, .*, not 'row' \(did you mean 'raw'\?\)\."
    with pytest.raises(RecipeError, match=said):
        new_head(RouterSettings(kind="row"))


def test_weights_that_are_given_stand_in_for_the_routers() -> None:
    head = make_head()
    clips = torch.randn(5, FRAMES, WIDTH, dtype=torch.float64)
    with torch.no_grad():
        outputs = head.ask(clips)
        given = torch.eye(3, dtype=torch.float64)[[0, 2, 1, 1, 0]]
        logits, routing = head.combiner(clips, outputs, given=given)
        assert torch.equal(routing, given)
        for row, expert in enumerate([0, 2, 1, 1, 0]):
            static, output = clips[row].mean(dim=0).numpy(), outputs[row, expert].numpy()
            fused = static / np.linalg.norm(static) + output / np.linalg.norm(output)
            expected = [cosine(fused, vector) for vector in fusion_of(head).class_vectors.numpy()]
            np.testing.assert_allclose(logits[row], expected, atol=1e-12)


def slow_log_likelihoods(described: np.ndarray, labels: np.ndarray, points: np.ndarray, shrinkage: float) -> np.ndarray:
    """Gaussian log-densities, one covariance shared by all classes, written out."""
    classes = sorted(set(labels))
    means = {c: described[labels == c].mean(axis=0) for c in classes}
    centred = np.concatenate([described[labels == c] - means[c] for c in classes])
    covariance = centred.T @ centred / (len(described) - len(classes))
    diagonal = np.diag(np.diag(covariance))
    inverse = np.linalg.inv((1 - shrinkage) * covariance + shrinkage * diagonal)
    return np.array([[-0.5 * (x - means[c]) @ inverse @ (x - means[c]) for c in classes] for x in points])


def test_the_likelihood_router_is_the_shared_covariance_posterior() -> None:
    settings = StatisticsSettings(parts=("mean", "difference", "deviation", "cosines"), shrinkage=0.2)
    head = make_head(router=RouterSettings(kind="likelihood"), statistics=settings)
    assert head.combiner.statistics is not None
    torch.manual_seed(0)
    described, labels, first = [], [], 0
    generator_head = new_head()
    for classes in STAGES:  # the very draws of make_head
        generator_head.add_stage(classes, torch.randn(classes, WIDTH))
        rows = torch.arange(classes).repeat(12)
        described.append(head.combiner.statistics.float().describe(torch.randn(len(rows), FRAMES, WIDTH)))
        labels.append(rows + first)
        first += classes
    head.double()
    clips = torch.randn(4, FRAMES, WIDTH, dtype=torch.float64)
    with torch.no_grad():
        _, routing = head(clips)
        points = head.combiner.statistics.describe(clips).numpy()
    likelihoods = slow_log_likelihoods(
        torch.cat(described).double().numpy(), torch.cat(labels).numpy(), points, settings.shrinkage
    )
    posterior = np.exp(likelihoods - likelihoods.max(axis=1, keepdims=True))
    posterior /= posterior.sum(axis=1, keepdims=True)
    ends = np.cumsum(STAGES)
    expected = np.stack([posterior[:, end - n : end].sum(axis=1) for end, n in zip(ends, STAGES, strict=True)], axis=1)
    np.testing.assert_allclose(routing, expected, atol=1e-3)


@pytest.mark.parametrize("likelihood", ["gaussian", "cosine"])
def test_statistics_do_not_depend_on_the_order_of_stages(likelihood: Literal["gaussian", "cosine"]) -> None:
    """Closed form: seeing stage B before stage A gives the same likelihoods, up to the order of classes."""
    torch.manual_seed(1)
    first, second = torch.randn(20, FRAMES, WIDTH), torch.randn(30, FRAMES, WIDTH)
    labels = {20: torch.arange(20) % 2, 30: torch.arange(30) % 3}
    points = torch.randn(6, FRAMES, WIDTH)

    def learnt(*parts: torch.Tensor) -> torch.Tensor:
        statistics = ClipStatistics(FRAMES, COLUMNS, StatisticsSettings(likelihood=likelihood))
        for part in parts:
            rows = labels[len(part)]
            statistics.update(Samples(part, rows, torch.arange(len(rows))), int(rows.max()) + 1)
        return statistics.log_likelihoods(statistics.read(points))

    there, back = learnt(first, second), learnt(second, first)
    torch.testing.assert_close(there, back[:, [3, 4, 0, 1, 2]], rtol=1e-3, atol=1e-3)


def test_evidence_adds_the_posterior_mean_class_vector() -> None:
    """With only evidence left of V, a posterior that is sure gives its class vector."""
    head = make_head(RouterSettings(kind="likelihood"), FusionSettings(static=0.0, evidence=1e6), StatisticsSettings())
    clips = 4 * torch.randn(64, FRAMES, WIDTH, dtype=torch.float64)
    with torch.no_grad():
        logits, _ = head(clips)
        assert head.combiner.statistics is not None
        posterior = torch.softmax(head.combiner.statistics.log_likelihoods(head.combiner.read(clips)), dim=1)
    sure = posterior.amax(dim=1) > 0.999
    assert sure.sum() > 5
    assert torch.equal(logits[sure].argmax(dim=1), posterior[sure].argmax(dim=1))
    torch.testing.assert_close(
        logits[sure].amax(dim=1), torch.ones(int(sure.sum()), dtype=torch.float64), atol=1e-2, rtol=0
    )


def test_directions_are_compared_in_the_whitened_space_as_seen_from_the_middle_of_the_classes() -> None:
    settings = StatisticsSettings(parts=("mean",), likelihood="cosine", concentration=7.0, shrinkage=0.2)
    torch.manual_seed(2)
    statistics = ClipStatistics(FRAMES, COLUMNS, settings)
    described = torch.randn(60, WIDTH) * torch.logspace(-1, 1, WIDTH) + 5
    labels = torch.arange(60) % 3
    described += labels[:, None] * torch.randn(WIDTH)
    still = described[:, None].expand(-1, FRAMES, -1)  # so that their mean frame is what is described
    statistics.update(Samples(still, labels, torch.arange(60)), 3)
    means = np.stack([described[labels == one].double().mean(dim=0).numpy() for one in range(3)])
    centred = described.double().numpy() - means[labels]
    covariance = centred.T @ centred / (60 - 3)
    inverse = np.linalg.inv(0.8 * covariance + 0.2 * np.diag(np.diag(covariance)))
    clips = torch.randn(5, FRAMES, WIDTH) + 5
    seen, known = clips.mean(dim=1).double().numpy() - means.mean(axis=0), means - means.mean(axis=0)
    lengths = [np.sqrt(np.einsum("ns,st,nt->n", rows, inverse, rows)) for rows in (seen, known)]
    cosines = seen @ inverse @ known.T / lengths[0][:, None] / lengths[1]
    found = statistics.log_likelihoods(statistics.read(clips))
    np.testing.assert_allclose(found, 7.0 * cosines, atol=7.0 * 2**-9)  # axes have eleven bits
    # Clips that a new place stretches away from that middle keep their likelihoods.
    view = statistics.views[0]
    assert isinstance(view, View)
    stretched = view.centre + 3.0 * (clips - view.centre)
    torch.testing.assert_close(statistics.log_likelihoods(statistics.read(stretched)), found, rtol=2e-3, atol=2e-3)
