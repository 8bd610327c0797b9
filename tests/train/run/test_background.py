"""Videos in which nobody does anything that is learnt: what windows are made of them, and what they teach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stpr.runtime.contract.errors import DataError, RecipeError
from stpr.train.data.cache import FeatureCache
from stpr.train.data.source import read_videos
from stpr.train.data.stages import Stage
from stpr.train.learning.distributed import ALONE
from stpr.train.learning.inputs import FrozenFeatures
from stpr.train.methods.build import build_model
from stpr.train.model.scores.statistics import ClipStatistics
from stpr.train.run.background import background_of
from stpr.train.run.clips import VideoClips
from stpr.train.run.events import GROUPS
from stpr.train.run.progress import ShownProgress
from stpr.train.run.stage import learn_stage
from stpr.train.settings.recipe import Recipe
from tests.factories import make_video
from tests.train.synthetic import FRAMES, STAGES, make_features, make_fit, make_inputs, make_recipe
from tests.train.videos import TRAIN, recipe_of, write_videos

EVENTS: dict[str, Any] = {
    "class_vectors": {"kind": "codes"},
    "statistics": {"likelihood": "cosine", "concentration": "learnt", "events": True, "draws": True},
    "fusion": {"kind": "posteriors"},
    "expert": {"layers": 0},
    "unknown": {"holdout": 0.3},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = write_videos(tmp_path / "set")
    (root / "background").mkdir()
    make_video(root / "background" / "long.avi", frames=60)
    make_video(root / "background" / "short.avi", frames=4)
    return root


def recipe(root: Path, **tables: Any) -> Recipe:
    return recipe_of(root, **{**EVENTS, **tables, "data": {"background": "background"}})


def test_a_stage_is_learnt_beside_windows_of_the_background_which_are_encoded_once(root: Path) -> None:
    told = recipe(root)
    background = background_of(told, span=0.5)
    assert background is not None
    assert [video.name for video in background.videos] == ["long.avi", "short.avi"]
    videos = read_videos(told.data, lambda *_: None).videos
    clips = VideoClips(told, videos, ["jump", "wave"], ALONE, quiet(), None, 0.5)
    encoder = build_model(told).encoder
    train, again = (clips.train(encoder, Stage(1, ("jump",))) for _ in range(2))
    assert isinstance(train, FrozenFeatures)
    assert isinstance(again, FrozenFeatures)
    assert train.background is not None
    assert again.background is not None
    assert train.background.shape[1:] == train.features.shape[2:]
    assert len(train.background) > 3
    assert torch.equal(train.background, again.background)
    marked = torch.arange(TRAIN) == 0
    assert train.take(marked).background is train.background
    test = clips.test(encoder, Stage(1, ("jump",)))
    assert isinstance(test, FrozenFeatures)
    assert test.background is None


def quiet() -> ShownProgress:
    return ShownProgress(quiet=True)


def test_without_a_folder_there_is_none(root: Path) -> None:
    assert background_of(recipe_of(root, **EVENTS), span=0.5) is None


def test_what_can_not_be_used_is_one_line(root: Path) -> None:
    with pytest.raises(RecipeError, match=r"set \[statistics\] events = true or leave it out"):
        background_of(recipe(root, statistics={"events": False}), span=0.5)
    with pytest.raises(DataError, match=r"there is no folder .*gone"):
        background_of(recipe_of(root, **{**EVENTS, "data": {"background": "gone"}}), span=0.5)
    blocks = recipe(root, adapter={"place": "blocks"}, statistics={**EVENTS["statistics"], "draws": False})
    with pytest.raises(RecipeError, match=r"leave background out, or set place"):
        background_of(blocks, span=0.5)
    for name in ("more.avi", "long.avi"):
        whole = make_video(root / "background" / name, frames=60).read_bytes()
        (root / "background" / name).write_bytes(whole[: len(whole) // 2])  # which only decoding tells
    broken = background_of(recipe(root), span=0.5)
    assert broken is not None
    with pytest.raises(DataError, match=r"2 videos can't be used: .*long.avi .*more.avi"):
        broken.encoded(build_model(recipe(root)).encoder, recipe(root).sampling, quiet())
    for name in ("long.avi", "short.avi"):
        (root / "background" / name).write_bytes(b"no video")
    with pytest.raises(DataError, match=r"2 videos can't be used: .*long.avi .*short.avi"):
        background_of(recipe(root), span=0.5)  # before anything is encoded


def test_windows_are_kept_in_the_cache_and_counted_without_decoding(root: Path, tmp_path: Path) -> None:
    told, cache = recipe(root), FeatureCache(tmp_path / "cache")
    encoder = build_model(told).encoder
    first, second = (background_of(told, 0.5, cache) for _ in range(2))
    longer = background_of(told, 0.7, cache)
    assert first is not None
    assert second is not None
    assert longer is not None
    made = first.encoded(encoder, told.sampling, quiet())
    assert (cache.served, cache.added) == (0, 2)
    assert len(made) == first.windows(told.sampling)
    assert torch.equal(second.encoded(encoder, told.sampling, quiet()), made)
    assert (cache.served, cache.added) == (2, 2)
    assert len(longer.encoded(encoder, told.sampling, quiet())) < len(made)  # windows of another length are others
    assert (cache.served, cache.added) == (2, 4)


def test_a_covariance_without_an_inverse_is_one_line() -> None:
    settings = make_recipe(**{**EVENTS, "statistics": {**EVENTS["statistics"], "shrinkage": 0.0}})
    with pytest.raises(RecipeError, match=r"covariance has no inverse; raise \[statistics\] shrinkage"):
        learn_stage(build_model(settings), STAGES[0], make_inputs(1, clips=6), settings, make_fit(settings, 1))


def strange_clips() -> Tensor:
    """Clips that are half of one class and half of another."""
    features, labels = make_features(1, clips=40, split=2)
    return (features[labels == 0] + features[labels == 1]) / 2 + 0.3 * torch.randn(40, FRAMES, features.shape[2])


def learnt(background: Tensor | None, *stages: int, clips: int = 40) -> ClipStatistics:
    settings = make_recipe(**EVENTS)
    model = build_model(settings)
    for stage in stages:
        inputs = make_inputs(stage, clips=clips)
        inputs.background = background
        learn_stage(model, STAGES[stage - 1], inputs, settings, make_fit(settings, stage))
    statistics = model.head.combiner.statistics
    assert isinstance(statistics, ClipStatistics)
    return statistics


def evidence(*, background: bool) -> tuple[float, float]:
    """Mean evidence of test clips, and of windows like the background."""
    features, strange = make_features(1, clips=40, split=2)[0], strange_clips()
    statistics = learnt(strange[:20] if background else None, 1)
    with torch.no_grad():
        own, other = (
            statistics.evidence(statistics.read(clips)).amax(dim=1).mean() for clips in (features, strange[20:])
        )
    return float(own), float(other)


def test_what_looks_like_the_background_is_no_action_and_actions_still_are() -> None:
    torch.manual_seed(0)
    (own, strange), (taught, silent) = evidence(background=False), evidence(background=True)
    assert silent < strange - 1
    assert taught - silent > own - strange
    assert taught > 0


@pytest.mark.parametrize("stages", [(1,), (1, 2)])
@pytest.mark.parametrize("clips", [40, 3])  # of three none is held out
@pytest.mark.parametrize("windows", [1, 2, 40])
def test_four_means_of_the_background_are_kept_whatever_there_is_of_it(
    stages: tuple[int, ...], clips: int, windows: int
) -> None:
    torch.manual_seed(0)
    strange = strange_clips()[:windows]
    statistics = learnt(strange, *stages, clips=clips)
    assert statistics.wholeness is not None
    kept = statistics.wholeness.background
    assert kept.shape == (GROUPS, statistics.size)
    with torch.no_grad():
        seen = statistics.read(strange)
        near = statistics.unlike(statistics.resemble(seen)[0])
    assert bool((near[:, -GROUPS:].amax(dim=1) >= near.amax(dim=1)).float().mean() > 0.9)  # like themselves
    if windows > 1:  # a mean shows none of them
        assert torch.cdist(seen.described, kept).min() > 0.1


def test_a_background_in_which_nothing_moves_is_kept_and_teaches_nothing() -> None:
    torch.manual_seed(0)
    still = strange_clips()[:10, :1].expand(-1, FRAMES, -1)
    plain, shown = learnt(None, 1), learnt(still, 1)
    assert plain.wholeness is not None
    assert shown.wholeness is not None
    assert shown.wholeness.background.shape == (GROUPS, shown.size)
    torch.testing.assert_close(shown.wholeness.bias, plain.wholeness.bias, atol=0.5, rtol=0.1)
