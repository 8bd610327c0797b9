"""Centre views are encoded once for each state of the encoder, and as if they were encoded anew."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from stpr.train.learning.inputs import FrozenFeatures, StageInputs
from stpr.train.learning.stage_clips import BATCH, CentreViews, StageClips
from stpr.train.methods.build import build_model
from stpr.train.model.encoder import FrameEncoder
from tests.train.synthetic import ADAPTED, FRAMES, STAGES, make_inputs, make_recipe

CLIPS = BATCH + 3  # more than a batch


class Pixels(FrozenFeatures):
    """Clips of noise that count how often their centre views are asked for."""

    def __init__(self) -> None:
        frames = torch.randint(256, (CLIPS, 1, FRAMES, 48, 48, 3), generator=torch.Generator().manual_seed(0))
        super().__init__(frames.to(torch.uint8), torch.arange(CLIPS) % 2)
        self.asked = 0

    def centre(self, *, batch: int) -> Iterator[Tensor]:
        self.asked += 1
        return super().centre(batch=batch)


def close(found: Tensor, expected: Tensor) -> None:
    """Batches of other sizes are summed in another order."""
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def encoder_with(place: str) -> FrameEncoder:
    torch.manual_seed(0)
    encoder = build_model(make_recipe(adapter={"place": place, "bottleneck": 4})).encoder.eval()
    tune(encoder)
    return encoder


@torch.no_grad()
def tune(encoder: FrameEncoder) -> None:
    for value in encoder.adapter_parameters():
        value.add_(0.1 * torch.randn(value.shape))


@torch.no_grad()
def anew(encoder: FrameEncoder, clips: Pixels) -> Tensor:
    return encoder(clips.features[:, 0])


@pytest.mark.parametrize("place", ["blocks", "feature", "none"])
def test_they_are_encoded_once_however_many_ask(place: str) -> None:
    clips, encoder = Pixels(), encoder_with(place)
    views = CentreViews(clips, encoder)
    assert clips.asked == 0  # nothing is encoded before somebody asks
    for _ in range(3):
        close(views.features(), anew(encoder, clips))
        close(views.frozen(), encoder.frozen(clips.features[:, 0]))
    assert clips.asked == 1


def test_tuned_blocks_are_another_state_of_the_encoder() -> None:
    clips, encoder = Pixels(), encoder_with("blocks")
    views = CentreViews(clips, encoder)
    before = views.features()
    tune(encoder)
    assert torch.equal(views.features(), before)  # nobody has said so yet
    views.encoder_changed()
    close(views.features(), anew(encoder, clips))
    assert not torch.allclose(views.features(), before)
    assert clips.asked == 2


def test_a_tuned_adapter_behind_the_backbone_costs_no_second_pass() -> None:
    clips, encoder = Pixels(), encoder_with("feature")
    views = CentreViews(clips, encoder)
    before = views.features()
    tune(encoder)
    views.encoder_changed()
    close(views.features(), anew(encoder, clips))
    assert not torch.allclose(views.features(), before)
    assert clips.asked == 1


@pytest.mark.parametrize("place", ["blocks", "feature"])
def test_without_adapters_they_are_the_same_in_every_state(place: str) -> None:
    clips, encoder = Pixels(), encoder_with(place)
    views = CentreViews(clips, encoder)
    with torch.no_grad():
        wanted = encoder.unadapted(clips.features[:, 0])
    for _ in range(2):
        close(views.unadapted(), wanted)
        tune(encoder)
        views.encoder_changed()
    assert clips.asked == 1


def test_labels_are_counted_from_the_first_of_the_stage() -> None:
    inputs: StageInputs = make_inputs(2, clips=2)
    clips = StageClips(STAGES[1], inputs, build_model(make_recipe(**ADAPTED)).encoder)
    assert clips.labels_from(2).tolist() == [0, 0, 1, 1]
