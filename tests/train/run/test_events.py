from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from stpr.runtime.events import EventSettings
from stpr.train.learning.inputs import FrozenFeatures
from stpr.train.methods.build import build_model
from stpr.train.model.columns import Columns
from stpr.train.model.scores import wholeness
from stpr.train.model.scores.description import Description
from stpr.train.model.scores.statistics import ClipStatistics
from stpr.train.run.events import energy_floors
from stpr.train.run.stage import learn_stage
from stpr.train.settings.model import StatisticsSettings
from tests.train.synthetic import FRAMES, STAGES, make_features, make_fit, make_recipe

energy = Description(8, Columns(6), StatisticsSettings()).energy


def moving(count: int, amount: float, seed: int) -> Tensor:
    """Clips `(n, 8, 6)` that move by about `amount`, some half as much and some twice."""
    rng = np.random.default_rng(seed)
    sizes = amount * np.exp(rng.normal(0, 0.3, (count, 1, 1)))
    return torch.tensor(5 + sizes * rng.normal(size=(count, 8, 6)), dtype=torch.float32)


def test_other_clips_of_a_class_keep_above_its_floor_and_still_ones_below() -> None:
    for count in (5, 100):
        kept = []
        for seed in range(40):
            clips = torch.cat([moving(count, 1.0, seed), moving(count, 0.05, 100 + seed)])
            lively, calm = energy_floors(energy(clips), torch.arange(2).repeat_interleave(count), 2)
            kept.append(float((energy(moving(200, 1.0, 200 + seed)) >= lively).float().mean()))
            assert (energy(moving(200, 0.05, 300 + seed)) < lively).float().mean() > (0.5 if count == 5 else 0.99)
            assert calm < 0.05
        assert 0.97 < np.mean(kept) <= 1


def test_too_few_clips_set_no_floor_and_pictures_set_a_low_one() -> None:
    clips = torch.cat([moving(2, 1.0, 0), torch.ones(4, 8, 6)])
    floors = energy_floors(energy(clips), torch.tensor([0, 0, 1, 1, 1, 1]), 2)
    assert floors[0] == 0
    assert 0 <= floors[1] < 1e-6


EVENTS: dict[str, Any] = {
    "class_vectors": {"kind": "codes"},
    "statistics": {
        "parts": ["mean"],
        "likelihood": "cosine",
        "concentration": "learnt",
        "events": True,
        "draws": True,
    },
    "fusion": {"kind": "posteriors"},
    "expert": {"layers": 0},
    "unknown": {"holdout": 0.3},
}


def shown(labels: Tensor, seed: int, *, unlike: float = 0.0) -> Tensor:
    """Clips `(n, FRAMES, D)` of shapes that are held: a class is what it looks like, and no hand is quite still.

    `unlike`: how far everything is shifted, as by somebody who was never filmed.
    """
    rng = torch.Generator().manual_seed(seed)
    width = make_features(1, clips=2)[0].shape[2]
    always = torch.Generator().manual_seed(0)
    looks = torch.randn(len(STAGES[0]), width, generator=always) + unlike * torch.randn(width, generator=always)
    own = looks[labels] + 0.2 * torch.randn(len(labels), width, generator=rng)
    return own[:, None] + 0.1 * torch.randn(len(labels), FRAMES, width, generator=rng)


class Heard(NamedTuple):
    """The share of windows that may be events."""

    whole: float
    resting: float  # still for half of the time
    joint: float  # of two classes
    again: float  # a clip and another one of its class
    other: float  # whole, by somebody who was never filmed


def shares_heard(monkeypatch: pytest.MonkeyPatch, *, look: float) -> Heard:
    """What is heard of classes that are told by their look, if a class is from a cosine of `look` on."""
    monkeypatch.setattr(wholeness, "LOOK", look)
    settings = make_recipe(**EVENTS)
    model, labels = build_model(settings), torch.arange(80) % 2
    inputs = FrozenFeatures(torch.stack([shown(labels, seed) for seed in range(3)], dim=1), labels)
    learn_stage(model, STAGES[0], inputs, settings, make_fit(settings, 1))
    statistics = model.head.combiner.statistics
    assert isinstance(statistics, ClipStatistics)
    whole, half = shown(labels, 9), FRAMES // 2
    resting = torch.cat([whole[:, :half], whole[:, half : half + 1].expand(-1, FRAMES - half, -1)], dim=1)
    joint = torch.cat([whole[0::2, :half], whole[1::2, half:]], dim=1)
    again = torch.cat([whole[:, :half], shown(labels, 10)[:, half:]], dim=1)
    with torch.no_grad():
        told = [
            statistics.evidence(statistics.read(clips)).amax(dim=1) > EventSettings().threshold
            for clips in (whole, resting, joint, again, shown(labels, 11, unlike=1.5))
        ]
    return Heard(*(float(one.float().mean()) for one in told))


def test_what_is_told_by_its_look_is_heard_whoever_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    heard = shares_heard(monkeypatch, look=wholeness.LOOK)
    assert min(heard.whole, heard.resting, heard.again, heard.other) > 0.9
    assert heard.joint < 0.05
    by_motion = shares_heard(monkeypatch, look=2.0)
    assert by_motion.whole < heard.whole - 0.3


def test_a_class_that_hardly_moves_is_not_told_by_its_look() -> None:
    """Stills of all classes resemble the class that moves least, but its own no more than the others'."""
    settings = make_recipe(**{**EVENTS, "statistics": {**EVENTS["statistics"], "parts": ["mean", "deviation"]}})
    width = make_features(1, clips=2)[0].shape[2]
    rng, labels = torch.Generator().manual_seed(0), torch.arange(120) % 3
    much = torch.tensor([0.2, 1.0, 2.0])[labels][:, None, None]
    swings = torch.tensor([1.0, -1.0]).repeat(FRAMES // 2)[:, None]
    views = [
        torch.randn(120, 1, width, generator=rng) * 0.3
        + much * swings * (0.5 + torch.rand(120, FRAMES, width, generator=rng))
        for _ in range(3)
    ]
    model = build_model(settings)
    learn_stage(
        model,
        ("slow", "fast", "wild"),
        FrozenFeatures(torch.stack(views, dim=1), labels),
        settings,
        make_fit(settings, 1),
    )
    statistics = model.head.combiner.statistics
    assert isinstance(statistics, ClipStatistics)
    assert statistics.moving == (True, True, True)
