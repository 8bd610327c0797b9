"""Class scores choose the stage and its expert helps within it, against sums over classes one by one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from stpr.train.model.columns import Columns
from stpr.train.model.combiners.mixture import Mixture
from stpr.train.model.scores.samples import Samples
from stpr.train.model.scores.statistics import ClipStatistics
from stpr.train.settings.model import StatisticsSettings

FRAMES, WIDTH, TEMPERATURE = 4, 6, 0.05
STAGES = (2, 3, 1)  # classes of each
OWNERS = (0, 0, 1, 1, 1, 2)


def features(seed: int, clips: int = 40) -> Tensor:
    return torch.randn(clips, FRAMES, WIDTH, generator=torch.Generator().manual_seed(seed))


def filled(*, experts: bool = True) -> Mixture:
    """Six overlapping classes of three stages, whose experts are trusted by different amounts."""
    columns, settings = Columns(WIDTH), StatisticsSettings(likelihood="cosine", concentration=4.0)
    mixture = Mixture(columns, ClipStatistics(FRAMES, columns, settings), temperature=TEMPERATURE)
    for owner, classes in enumerate(STAGES):
        labels = torch.arange(40) % classes
        places = torch.randn(classes, FRAMES, WIDTH, generator=torch.Generator().manual_seed(90 + owner))
        samples = Samples(features(owner) + 0.3 * places[labels], labels, torch.arange(40))
        mixture.statistics.update(samples, classes)
        vectors = torch.randn(classes, WIDTH, generator=torch.Generator().manual_seed(owner)) if experts else None
        mixture.add_classes(classes, owner=owner, vectors=vectors)
    return mixture


def outputs(clips: int = 40) -> Tensor:
    return torch.randn(clips, len(STAGES), WIDTH, generator=torch.Generator().manual_seed(5))


def posterior(logits: Tensor) -> Tensor:
    return torch.softmax(logits.double() / TEMPERATURE, dim=1)


def test_without_trust_the_scores_decide_alone() -> None:
    mixture, clips = filled(), features(7)
    wanted = torch.softmax(mixture.statistics.log_likelihoods(mixture.read(clips)).double(), dim=1)
    for given in (outputs(), outputs()[:, :0]):
        logits, routing = mixture(clips, given)
        torch.testing.assert_close(posterior(logits), wanted, atol=1e-6, rtol=1e-5)
        by_stage = torch.stack([part.sum(dim=1) for part in wanted.split(STAGES, dim=1)], dim=1)
        torch.testing.assert_close(routing.double(), by_stage, atol=1e-6, rtol=1e-5)
    assert wanted.amax(dim=1).min() < 0.9  # or nothing would be left to decide


def test_a_trusted_expert_speaks_among_its_own_classes_alone() -> None:
    mixture, clips, heard = filled(), features(7), outputs()
    mixture.trust = torch.tensor([3.0, 8.0, 5.0])
    logits, routing = mixture(clips, heard)
    scores = mixture.statistics.log_likelihoods(mixture.read(clips)).double()
    cosines = F.normalize(heard.double(), dim=-1) @ F.normalize(mixture.class_vectors.double(), dim=-1).T
    found = posterior(logits)
    for clip in range(len(clips)):
        plain = torch.softmax(scores[clip], dim=0)
        for owner in range(len(STAGES)):
            own = [index for index, stage in enumerate(OWNERS) if stage == owner]
            share = plain[own].sum()
            terms = [math.exp(scores[clip, c] + mixture.trust[owner] * cosines[clip, owner, c]) for c in own]
            torch.testing.assert_close(routing[clip, owner].double(), share, atol=1e-6, rtol=1e-4)
            for place, term in zip(own, terms, strict=True):
                assert float(found[clip, place]) == pytest.approx(float(share) * term / sum(terms), rel=1e-3, abs=1e-6)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(40).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        logits.double().div(TEMPERATURE).exp().sum(dim=1), torch.ones(40).double(), atol=1e-4, rtol=0
    )
    assert (found.argmax(dim=1) != torch.softmax(scores, dim=1).argmax(dim=1)).any()


def test_an_oracle_leaves_the_classes_of_the_right_stage_alone() -> None:
    mixture, clips, heard = filled(), features(7), outputs()
    mixture.trust = torch.tensor([3.0, 8.0, 5.0])
    free = posterior(mixture(clips, heard)[0])
    for owner in range(len(STAGES)):
        given = F.one_hot(torch.full((40,), owner), len(STAGES)).float()
        logits, routing = mixture(clips, heard, None, given)
        own = torch.tensor([stage == owner for stage in OWNERS])
        within = free[:, own] / free[:, own].sum(dim=1, keepdim=True)
        torch.testing.assert_close(posterior(logits)[:, own], within, atol=1e-5, rtol=1e-3)
        assert posterior(logits)[:, ~own].max() < 1e-12
        torch.testing.assert_close(routing, given, atol=1e-6, rtol=0)


def test_a_new_expert_is_not_trusted_yet_and_old_ones_stay() -> None:
    mixture = filled()
    assert mixture.trust.tolist() == [0, 0, 0]
    mixture.trust = torch.tensor([3.0, 8.0, 5.0])
    before = mixture.class_vectors.clone()
    mixture.add_classes(2, owner=3, vectors=torch.ones(2, WIDTH))
    assert mixture.trust.tolist() == [3, 8, 5, 0]
    assert mixture.decision_weights == {
        "expert of stage 1": 3,
        "expert of stage 2": 8,
        "expert of stage 3": 5,
        "expert of stage 4": 0,
    }
    assert torch.equal(mixture.class_vectors, torch.cat([before, torch.ones(2, WIDTH)]))
    assert mixture.membership[-2:].tolist() == [[0, 0, 0, 1]] * 2
    # A class that comes to an expert that is there already takes over its trust.
    mixture.add_classes(1, owner=1)
    assert mixture.trust.tolist() == [3, 8, 5, 0]


def test_a_sure_score_far_from_all_others_stays_finite() -> None:
    mixture, clips = filled(), 1e3 * features(7)
    mixture.trust = torch.full((3,), 100.0)
    for given in (None, torch.tensor([[0.0, 0.0, 1.0]]).repeat(40, 1)):
        logits, routing = mixture(clips, 1e3 * outputs(), None, given)
        assert torch.isfinite(logits).all()
        assert torch.isfinite(routing).all()
