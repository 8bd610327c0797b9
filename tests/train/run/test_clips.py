"""The clips of a stage: which videos, which labels, pixels or frozen features, and how often they are decoded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stpr.runtime.contract.errors import DataError
from stpr.train.data.cache import FeatureCache
from stpr.train.data.source import read_videos
from stpr.train.data.stages import Stage
from stpr.train.learning import frozen_pass
from stpr.train.learning.distributed import ALONE
from stpr.train.learning.inputs import FrozenFeatures, PixelClips
from stpr.train.methods.build import build_model
from stpr.train.run.clips import VideoClips
from stpr.train.run.progress import ShownProgress
from stpr.train.settings.recipe import Recipe
from tests.train.videos import TEST, TRAIN, recipe_of, write_videos

FIRST, SECOND = Stage(1, ("jump",)), Stage(2, ("wave",))


class Told(ShownProgress):
    """Notes each pass over clips."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.passes: list[tuple[str, int]] = []
        self.notes: list[str] = []

    def encoding(self, what: str, done: int, total: int) -> None:
        if done == total:
            self.passes.append((what, total))

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_videos(tmp_path_factory.mktemp("work") / "set")


def clips_of(recipe: Recipe, told: Told, cache: FeatureCache | None = None) -> VideoClips:
    videos = read_videos(recipe.data, told.generating).videos
    return VideoClips(recipe, videos, ["jump", "wave"], ALONE, told, cache)


def test_frozen_features_are_encoded_once_and_test_clips_once_in_all(root: Path) -> None:
    recipe, told = recipe_of(root), Told()
    clips, encoder = clips_of(recipe, told), build_model(recipe).encoder
    train = clips.train(encoder, SECOND)
    assert isinstance(train, FrozenFeatures)
    assert train.features.shape == (TRAIN, 1 + recipe.sampling.draws, recipe.sampling.frames, encoder.backbone.width)
    assert train.labels.tolist() == [1] * TRAIN  # the place in learning order
    first = clips.test(encoder, FIRST)
    assert clips.test(encoder, FIRST) is first
    assert isinstance(first, FrozenFeatures)
    assert first.features.shape[:2] == (TEST, 1)  # no draws
    assert told.passes == [("stage 2 train", TRAIN), ("stage 1 test", TEST)]


def test_training_clips_are_nobody_elses(root: Path) -> None:
    recipe, told = recipe_of(root), Told()
    clips, encoder = clips_of(recipe, told), build_model(recipe).encoder
    one, two = clips.train(encoder, FIRST), clips.train(encoder, FIRST)
    assert one is not two
    assert len(told.passes) == 2


def test_where_blocks_train_they_are_pixels_and_nothing_is_decoded_yet(root: Path) -> None:
    recipe, told = recipe_of(root, adapter={"place": "blocks"}), Told()
    clips, encoder = clips_of(recipe, told), build_model(recipe).encoder
    train = clips.train(encoder, FIRST)
    assert isinstance(train, PixelClips)
    assert [video.path.name for video in train.videos] == [f"train{index}.avi" for index in range(TRAIN)]
    assert told.passes == []


def test_a_warm_cache_gives_the_same_bits(root: Path, tmp_path: Path) -> None:
    recipe, encoder = recipe_of(root), build_model(recipe_of(root)).encoder
    cold, warm = (clips_of(recipe, Told(), FeatureCache(tmp_path)) for _ in range(2))
    first = cold.train(encoder, FIRST)
    warm.cache = FeatureCache(tmp_path)  # opened when the other had written
    second = warm.train(encoder, FIRST)
    assert isinstance(first, FrozenFeatures)
    assert isinstance(second, FrozenFeatures)
    assert torch.equal(first.features, second.features)
    assert (warm.cache.served, warm.cache.added) == (TRAIN, 0)


def test_a_class_without_videos_can_not_be_learnt_but_needs_no_test(root: Path) -> None:
    recipe = recipe_of(root)
    clips, encoder = clips_of(recipe, Told()), build_model(recipe).encoder
    clips.videos = [video for video in clips.videos if video.label == "jump"]
    with pytest.raises(DataError, match="wave"):
        clips.train(encoder, SECOND)
    assert clips.test(encoder, SECOND) is None


def test_why_pytorch_encodes_is_said_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen_pass, "MOST_BYTES", 1)
    recipe, told = recipe_of(root), Told()
    clips, encoder = clips_of(recipe, told), build_model(recipe).encoder
    for stage in (FIRST, SECOND):
        clips.train(encoder, stage)
    assert len(told.notes) == 1
    assert told.notes[0].startswith("frames are encoded by PyTorch: ")


CORRELATED = {"backbone": {"source": "tiny", "correlations": [0, 1], "axes": 4}}


def test_axes_are_learnt_from_the_first_clips_and_kept(root: Path, tmp_path: Path) -> None:
    recipe, told = recipe_of(root, **CORRELATED), Told()
    clips, encoder = clips_of(recipe, told, FeatureCache(tmp_path)), build_model(recipe).encoder
    assert not any(axes.any() for axes in encoder.backbone.axes)
    first = clips.train(encoder, FIRST)
    axes = [each.clone() for each in encoder.backbone.axes]
    clips.train(encoder, SECOND)
    another = build_model(recipe).encoder  # as a method that begins anew with each stage
    clips.test(another, SECOND)
    for now, of_another, before in zip(encoder.backbone.axes, another.backbone.axes, axes, strict=True):
        assert (now.equal(before), of_another.equal(before), bool(before.any())) == (True, True, True)
    assert [what for what, _ in told.passes].count("axes of channels") == 1
    again, fresh = clips_of(recipe, Told(), FeatureCache(tmp_path)), build_model(recipe).encoder
    cached = again.train(fresh, FIRST)
    assert isinstance(first, FrozenFeatures)
    assert isinstance(cached, FrozenFeatures)
    assert cached.features.equal(first.features)
    assert again.cache is not None
    assert (again.cache.served, again.cache.added) == (TRAIN, 0)  # the same axes to the bit


def test_a_clip_that_can_not_be_read_is_reported_by_the_encoding(tmp_path: Path) -> None:
    root = write_videos(tmp_path / "set")
    broken = sorted((root / "train" / "jump").iterdir())[0]
    broken.write_bytes(b"no video")
    recipe = recipe_of(root, **CORRELATED)
    encoder = build_model(recipe).encoder
    with pytest.raises(DataError, match=broken.name):
        clips_of(recipe, Told()).train(encoder, FIRST)
