"""Scores that mean something: the temperature against a search, and the error worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from stpr.train.learning.inputs import FrozenFeatures
from stpr.train.learning.stage_clips import StageClips
from stpr.train.methods.build import build_model
from stpr.train.model.stpr import StPR
from stpr.train.run.calibration import FARTHEST, calibrate, calibration_error
from stpr.train.run.open_set import FEWEST
from tests.train.synthetic import FRAMES, STAGES, WIDTH, make_recipe

TEMPERATURE = 0.05


def asked(sharpness: float, monkeypatch: pytest.MonkeyPatch, clips: int = 3000) -> tuple[StPR, Tensor, Tensor]:
    """A model after `calibrate`, whose logits are so many times too sharp: with the logits and labels of the clips."""
    model = build_model(make_recipe())
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(clips, 2, generator=generator).double()
    labels = torch.multinomial(torch.softmax(logits, dim=1), 1, generator=generator)[:, 0]
    shown = logits * sharpness * TEMPERATURE
    monkeypatch.setattr(model.head, "forward", lambda _: (shown, shown))
    inputs = FrozenFeatures(torch.zeros(clips, 1, FRAMES, WIDTH), labels)
    calibrate(model, StageClips(STAGES[0], inputs, model.encoder), temperature=TEMPERATURE)
    return model, shown, labels


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])
def test_scores_come_to_mean_what_they_say(sharpness: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model, shown, labels = asked(sharpness, monkeypatch)
    temperature_factor = model.head.combiner.temperature_factor
    assert temperature_factor == pytest.approx(sharpness, rel=0.1)
    powers = np.linspace(-FARTHEST, FARTHEST, 2001)
    costs = [float(F.cross_entropy(shown / TEMPERATURE * math.exp(-power), labels)) for power in powers]
    assert math.log(temperature_factor) == pytest.approx(powers[int(np.argmin(costs))], abs=0.02)

    def error(temperature: float) -> float:
        scores, predicted = torch.softmax(shown / temperature, dim=1).max(dim=1)
        return calibration_error(scores.numpy(), (predicted == labels).numpy())

    assert error(TEMPERATURE * temperature_factor) < 0.03
    if sharpness != 1:
        assert error(TEMPERATURE) > 0.08


def test_too_few_clips_leave_the_temperature_and_few_move_it_little(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(4.0, monkeypatch, clips=FEWEST - 1)[0].head.combiner.temperature_factor == 1
    assert asked(4.0, monkeypatch, clips=FEWEST - 1)[0].head.combiner.calibration.tolist() == [0, 0]
    assert asked(4.0, monkeypatch, clips=FEWEST)[0].head.combiner.calibration[1] == 1


def test_stages_are_averaged() -> None:
    combiner = build_model(make_recipe()).head.combiner
    for power, mean in ((1.0, 1.0), (-2.0, -0.5), (4.0, 1.0)):
        combiner.calibrate(power)
        assert combiner.temperature_factor == pytest.approx(math.exp(mean), rel=1e-6)


def test_the_error_worked_by_hand() -> None:
    scores = np.array([0.95, 0.95, 0.95, 0.95, 0.5, 1.0])
    right = np.array([True, True, True, False, True, True])
    # Bins of a fifteenth: 0.95 and 1.0 share the last one (4.8 said, 4 right), 0.5 is alone (0.5 said, 1 right).
    assert calibration_error(scores, right) == pytest.approx((0.8 + 0.5) / 6)
    assert calibration_error(np.array([1.0]), np.array([True])) == 0
