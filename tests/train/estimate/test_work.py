"""The work that a dry run foretells is the work that a real run does, decode by decode and frame by frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from stpr.train.data.stages import Stage
from stpr.train.data.videos import VideoFile
from stpr.train.estimate.audit import audit
from stpr.train.estimate.dry_run import dry_run
from stpr.train.estimate.footprint import checkpoint_bytes
from stpr.train.estimate.work import Clips, Work, work_of
from stpr.train.learning import frozen_pass
from stpr.train.learning.fit import Criterion
from stpr.train.methods import METHODS
from stpr.train.methods.build import build_model
from stpr.train.model.backbone import Backbone
from stpr.train.run.checkpoint import read_record
from stpr.train.run.execute import execute
from stpr.train.run.prepare import Request
from stpr.train.run.progress import ShownProgress
from stpr.train.settings.load import load_recipe
from stpr.train.settings.recipe import Recipe
from stpr.train.settings.shipped import shipped_recipes
from tests.factories import make_video
from tests.train.synthetic import FRAMES, STAGES, make_recipe

TRAIN, TEST = 5, 2  # clips of a class
BLOCKS: dict[str, Any] = {
    "adapter": {"place": "blocks", "bottleneck": 2},
    "class_vectors": {"kind": "codes"},
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for name in (name for stage in STAGES for name in stage):
        for split, count in (("train", TRAIN), ("test", TEST)):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                make_video(root / split / name / f"{index}.mp4", frames=8)
    return root


def count_work(recipe: Recipe, out: Path, monkeypatch: pytest.MonkeyPatch, **request: Any) -> Work:
    """A real run, watched where videos are opened, where frames enter the network and where steps are taken."""
    seen = {"decoded": 0, "encoded": 0, "learnt": 0}
    opened, forward, called = VideoFile.__enter__, Backbone.forward, Criterion.__call__
    covariances = Backbone.covariances

    def open_video(self: VideoFile) -> VideoFile:
        seen["decoded"] += 1
        return opened(self)

    def encode(self: Backbone, pixels: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled() and len(pixels) > 1:  # a single one tries the network, once per load
            seen["encoded"] += len(pixels)
        return forward(self, pixels)

    def for_axes(self: Backbone, pixels: torch.Tensor) -> list[torch.Tensor]:
        seen["encoded"] += len(pixels)
        return covariances(self, pixels)

    depth = 0

    def call(self: Criterion, *inputs: Any) -> Any:
        nonlocal depth
        seen["learnt"] += len(inputs[0]) * (depth == 0)
        depth += 1
        try:
            return called(self, *inputs)
        finally:
            depth -= 1

    with monkeypatch.context() as patched:
        patched.setattr(VideoFile, "__enter__", open_video)
        patched.setattr(Backbone, "forward", encode)
        patched.setattr(Backbone, "covariances", for_axes)
        patched.setattr(frozen_pass, "MOST_BYTES", 0)  # where frames enter another engine nobody counts them
        patched.setattr(Criterion, "__call__", call)
        execute(recipe, Request(out=out, **request), ShownProgress(quiet=True))
    return Work(**seen)


CASES: dict[str, dict[str, Any]] = {
    "motions' way": {"adapter": {"place": "feature", "bottleneck": 2}, "sampling": {"frames": FRAMES, "draws": 2}},
    "blocks": BLOCKS,
    "nothing to hold": {**BLOCKS, "preservation": {"weight": 0.0}},
    "stored importance": {**BLOCKS, "preservation": {"classes": "old"}},
    "prototypes behind a projection": {
        **BLOCKS,
        "class_vectors": {"kind": "prototypes"},
        "backbone": {"projection": 8},
    },
    "keys of the frozen network": {**BLOCKS, "router": {"kind": "clip_key"}},
    "motion, inner layers, correlations and posteriors": {
        **BLOCKS,
        "backbone": {"inner": "auto", "correlations": [1], "axes": 4},
        "sampling": {"frames": FRAMES, "motion": 2},
        "statistics": {
            "inner": {"parts": ["mean"]},
            "motion": {"parts": ["mean"]},
            "likelihood": "cosine",
            "concentration": "learnt",
        },
        "fusion": {"kind": "posteriors"},
    },
    "no experts": {**BLOCKS, "fusion": {"kind": "posteriors"}, "expert": {"layers": 0}},
    "no held-out clips": {**BLOCKS, "unknown": {"holdout": 0.0}},
    **{method: {**BLOCKS, "method": method} for method in METHODS if method != "stpr"},
    "correlations, all videos kept": {"method": "joint", **BLOCKS, "backbone": {"correlations": [0, 1]}},
}


@pytest.mark.parametrize("case", CASES)
def test_a_real_run_decodes_and_encodes_what_the_dry_run_says(
    case: str, videos: Path, clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(CASES[case], videos, clip_folder)
    foretold = dry_run(recipe, out=tmp_path / "run", last=None, resume=False)
    assert foretold.problems == []
    assert count_work(recipe, tmp_path / "run", monkeypatch) == foretold.work


EVENTS: dict[str, Any] = {
    "adapter": {"place": "feature", "bottleneck": 2},
    "class_vectors": {"kind": "codes"},
    "sampling": {"frames": FRAMES, "draws": 2},
    "statistics": {"likelihood": "cosine", "concentration": "learnt", "events": True, "draws": True},
    "fusion": {"kind": "posteriors"},
}


@pytest.mark.parametrize("lengths", [(60,), (4, 31, 60)])
def test_background_videos_are_foretold(
    lengths: tuple[int, ...], videos: Path, clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rooms").mkdir()
    places = [make_video(tmp_path / "rooms" / f"{frames}.avi", frames=frames) for frames in lengths]
    plain = recipe_of(EVENTS, videos, clip_folder)
    recipe = msgspec.structs.replace(plain, data=msgspec.structs.replace(plain.data, background=str(places[0].parent)))
    for last, resume in ((1, False), (3, True)):
        foretold = dry_run(recipe, out=tmp_path / "run", last=last, resume=resume)
        assert foretold.problems == []
        assert foretold.preparation.background == len(lengths)
        assert foretold.preparation.frames > FRAMES * len(lengths)
        done = count_work(recipe, tmp_path / "run", monkeypatch, last=last, resume=resume)
        assert done == foretold.work
    assert audit(tmp_path / "run").faults == ()
    kept = read_record(tmp_path / "run", 3).kept
    assert sum(tensor.bytes for tensor in kept) == checkpoint_bytes(recipe, build_model(recipe).encoder, STAGES)[-1]


def test_a_background_that_a_run_would_refuse_is_a_problem(videos: Path, clip_folder: Path, tmp_path: Path) -> None:
    plain = recipe_of(EVENTS, videos, clip_folder)
    recipe = msgspec.structs.replace(plain, data=msgspec.structs.replace(plain.data, background="gone"))
    (problem,) = dry_run(recipe, out=tmp_path / "run", last=None, resume=False).problems
    assert "[data] background: there is no folder" in problem


def test_a_run_that_stops_early_and_goes_on(
    videos: Path, clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(BLOCKS, videos, clip_folder)
    for last, resume in ((1, False), (3, True)):
        foretold = dry_run(recipe, out=tmp_path / "run", last=last, resume=resume)
        done = count_work(recipe, tmp_path / "run", monkeypatch, last=last, resume=resume)
        assert done == foretold.work


def recipe_of(tables: dict[str, Any], videos: Path, clip_folder: Path) -> Recipe:
    backbone = {"source": str(clip_folder), **tables.get("backbone", {})}
    few = {"batch": 4, "epochs_first": 2, "epochs_later": 1}
    data = {"kind": "folder", "root": str(videos)}
    return make_recipe(**{"optimizer": few, **tables, "backbone": backbone, "data": data})


@pytest.mark.parametrize("name", shipped_recipes())
def test_the_work_of_every_shipped_recipe_is_counted(name: str) -> None:
    recipe = load_recipe(name)
    recipe = msgspec.structs.replace(
        recipe, optimizer=msgspec.structs.replace(recipe.optimizer, epochs_first=1, epochs_later=1)
    )
    plan = [Stage(number, names) for number, names in enumerate(STAGES[:2], start=1)]
    done = work_of(recipe, plan, [Clips(TRAIN, TEST)] * 2, behind=0, last=2)
    assert sum(work.decoded for work in done) >= 2 * (TRAIN + TEST)  # test clips of later stages count in the first
    assert sum(work.encoded for work in done) >= recipe.sampling.frames * 2 * (TRAIN + TEST)


def test_frozen_clips_are_encoded_once() -> None:
    recipe = make_recipe(
        sampling={"draws": 2}, optimizer={"epochs_first": 6, "epochs_later": 3}, unknown={"holdout": 0}
    )
    plan = [Stage(number, names) for number, names in enumerate(STAGES, start=1)]
    clips = [Clips(TRAIN, TEST)] * 3
    first, second, third = work_of(recipe, plan, clips, behind=0, last=3)
    assert first == Work(TRAIN + TEST, FRAMES * (3 * TRAIN + TEST), 6 * TRAIN)
    assert second == third == Work(TRAIN + TEST, FRAMES * (3 * TRAIN + TEST), 3 * TRAIN)
    taken_up = work_of(recipe, plan, clips, behind=1, last=2)
    assert taken_up == [Work(TRAIN + 2 * TEST, FRAMES * (3 * TRAIN + 2 * TEST), 3 * TRAIN)]  # earlier test clips again
