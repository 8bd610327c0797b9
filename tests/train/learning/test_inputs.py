"""Batches of a stage: every clip once per epoch, the same again for the same seed, pixels and features alike."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stpr.train.data.clips import load_draws
from stpr.train.data.pixels import PixelSpec
from stpr.train.datasets.annotations import Video
from stpr.train.learning.encode import encode_frozen
from stpr.train.learning.inputs import FrozenFeatures, PixelClips, shuffled
from stpr.train.model.backbone import load_backbone
from stpr.train.model.encoder import FrameEncoder
from stpr.train.settings.learning import Augment, SamplingSettings
from stpr.train.settings.model import AdapterSettings
from tests.factories import make_video

CLIPS = 7
SAMPLING = SamplingSettings(frames=3, draws=2, augment=Augment(multi_scale_crop=True, flip=True), workers=2)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> PixelClips:
    folder = tmp_path_factory.mktemp("set")
    videos = [Video(make_video(folder / f"{index}.avi", frames=12 + index), "wave", "train") for index in range(CLIPS)]
    spec = PixelSpec(load_backbone("tiny").spec)
    return PixelClips(videos, torch.arange(CLIPS), spec=spec, sampling=SAMPLING, seed=5)


@pytest.fixture(scope="module")
def encoder() -> FrameEncoder:
    return FrameEncoder(backbone=load_backbone("tiny"), adapter=AdapterSettings(place="none"), projection=0).eval()


@pytest.fixture(scope="module")
def frozen(clips: PixelClips, encoder: FrameEncoder) -> FrozenFeatures:
    told: list[int] = []
    return encode_frozen(clips, encoder, draws=SAMPLING.draws, advance=told.append)


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 40), draws=st.integers(0, 4), batch=st.integers(1, 50), number=st.integers(0, 9))
def test_an_epoch_of_features_has_every_clip_once(count: int, draws: int, batch: int, number: int) -> None:
    # A feature says which clip and which view it is.
    views = torch.stack(torch.meshgrid(torch.arange(count), torch.arange(draws + 1), indexing="ij"), dim=-1)
    inputs = FrozenFeatures(views[:, :, None].float(), torch.arange(count))
    batches = list(inputs.epoch(number, batch=batch, seed=3))
    assert [len(labels) for _, labels in batches[:-1]] == [batch] * (len(batches) - 1)
    features, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert sorted(labels.tolist()) == list(range(count))
    assert torch.equal(features[:, 0, 0].long(), labels)
    drawn = features[:, 0, 1].long()
    assert torch.equal(drawn, 1 + (labels + number) % draws if draws else torch.zeros_like(labels))


def test_draws_take_turns_over_the_epochs() -> None:
    views = torch.arange(4.0).repeat(6, 1)[:, :, None, None]  # six clips, the centre view and three draws
    inputs = FrozenFeatures(views, torch.arange(6))
    seen = [
        dict(zip(y.tolist(), x.flatten().tolist(), strict=True))
        for e in range(3)
        for x, y in inputs.epoch(e, batch=6, seed=e)
    ]
    for clip in range(6):
        assert {epoch[clip] for epoch in seen} == {1.0, 2.0, 3.0}


@pytest.mark.parametrize("batch", [1, 3, CLIPS, 50])
def test_an_epoch_of_pixels_has_every_clip_once(clips: PixelClips, batch: int) -> None:
    batches = list(clips.epoch(0, batch=batch, seed=1))
    assert sorted(torch.cat([labels for _, labels in batches]).tolist()) == list(range(CLIPS))
    for pixels, labels in batches:
        assert pixels.dtype == torch.uint8
        for picture, label in zip(pixels, labels.tolist(), strict=True):
            drawn = load_draws(clips.videos[label].path, draws=1, spec=clips.spec, sampling=SAMPLING, seed=6)[1]
            assert torch.equal(picture, torch.from_numpy(drawn))


def test_pixels_are_drawn_anew_each_epoch_and_the_same_again(clips: PixelClips) -> None:
    def epoch(number: int) -> dict[int, bytes]:
        batches = clips.epoch(number, batch=4, seed=9)
        return {
            label: picture.numpy().tobytes() for x, y in batches for picture, label in zip(x, y.tolist(), strict=True)
        }

    assert epoch(0) == epoch(0)
    assert all(epoch(0)[label] != epoch(1)[label] for label in range(CLIPS))


def test_both_agree_on_the_centre_view(clips: PixelClips, frozen: FrozenFeatures, encoder: FrameEncoder) -> None:
    pixels, features = torch.cat(list(clips.centre(batch=2))), torch.cat(list(frozen.centre(batch=3)))
    with torch.no_grad():
        torch.testing.assert_close(encoder(pixels), features, rtol=1e-4, atol=1e-4)
    assert torch.equal(clips.labels, frozen.labels)
    assert torch.equal(torch.cat(list(clips.centre(batch=7))), pixels)


def test_frozen_features_are_of_the_same_draws(
    clips: PixelClips, frozen: FrozenFeatures, encoder: FrameEncoder
) -> None:
    assert frozen.features.shape == (CLIPS, 1 + SAMPLING.draws, 3, 64)
    with torch.no_grad():
        views = encoder(torch.from_numpy(clips.views(clips.videos[4].path, draws=2, seed=5)))
    torch.testing.assert_close(frozen.features[4], views)
    assert not torch.equal(frozen.features[:, 1], frozen.features[:, 2])


def test_encoding_tells_how_far_it_is(clips: PixelClips, encoder: FrameEncoder) -> None:
    told: list[int] = []
    encode_frozen(clips, encoder, draws=0, advance=told.append)
    assert told == list(range(1, CLIPS + 1))


def test_a_shuffle_knows_its_seed_alone() -> None:
    torch.manual_seed(1)
    first = shuffled(20, seed=4)
    torch.manual_seed(2)
    assert torch.equal(first, shuffled(20, seed=4))
    assert not torch.equal(first, shuffled(20, seed=5))
    assert sorted(first.tolist()) == list(range(20))
