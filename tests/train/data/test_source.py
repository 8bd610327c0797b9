"""Which videos a recipe asks for: all of a stage to be learnt, none of a learnt one."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from stpr.runtime.contract.errors import DataError, RecipeError
from stpr.train.config import FolderData, StageSettings
from stpr.train.data.annotations import SPLITS, Video
from stpr.train.data.source import read_stages, read_videos
from stpr.train.data.stages import Stage

LEARNT = (("wave", "clap"), ("jump",))
GROWN = StageSettings(classes=(*LEARNT, ("run",)))
FOLDER = FolderData(root="videos")


def videos_of(*classes: str, splits: tuple[str, ...] = SPLITS) -> list[Video]:
    return [
        Video(Path(f"{split}/{name}/a.mp4"), name, split)
        for split, name in itertools.product(SPLITS, classes)
        if split in splits
    ]


@pytest.mark.parametrize(
    "left",
    [
        [],
        videos_of("wave", "clap", "jump", splits=("test",)),
        videos_of("clap", splits=("test",)),
        videos_of("wave", "clap", "jump"),
    ],
)
def test_learnt_classes_need_no_video(left: list[Video]) -> None:
    stages = read_stages(GROWN, [*left, *videos_of("run")], LEARNT, FOLDER)
    assert stages == [Stage(1, ("wave", "clap")), Stage(2, ("jump",)), Stage(3, ("run",))]


@pytest.mark.parametrize(
    ("settings", "videos", "message"),
    [
        (GROWN, videos_of("run", splits=("test",)), "'run' of stage 3 has no train video"),
        (GROWN, videos_of("run", splits=("train",)), "'run' of stage 3 has no test video"),
        (GROWN, [], "stage 3 names the class 'run', which the data set does not have"),
        (GROWN, videos_of("run", "spin"), "no stage has 'spin'; add each to a stage or take its videos out"),
        (StageSettings(classes=LEARNT), videos_of("run"), "no stage has 'run'; add each to a stage"),
        (StageSettings(classes=(("run",), *LEARNT)), videos_of("run"), "stage 1 was learnt as 'wave', 'clap', but is"),
        (StageSettings(sizes=(2, 1, 1)), videos_of("run"), "stage 1 was learnt as 'wave', 'clap', but is"),
        (
            StageSettings(sizes=(2, 1)),
            videos_of("run"),
            r"begun with 3 classes, and with the data set there are now 4: stages drawn by \[stages\] sizes can't be",
        ),
    ],
)
def test_a_later_stage_that_can_not_be_learnt(settings: StageSettings, videos: list[Video], message: str) -> None:
    with pytest.raises((RecipeError, DataError), match=message) as caught:
        read_stages(settings, videos, LEARNT, FOLDER)
    assert "\n" not in caught.value.message


def test_a_draw_is_the_same_after_old_videos_went() -> None:
    names, settings = ("a", "b", "c", "d", "e"), StageSettings(sizes=(2, 2, 1), seed=5)
    stages = read_stages(settings, videos_of(*names), (), FOLDER)
    learnt = (stages[0].classes, stages[1].classes)
    assert read_stages(settings, videos_of(*stages[2].classes), learnt, FOLDER) == stages


@pytest.mark.parametrize("learnt", [(), LEARNT])
def test_a_class_that_is_tested_but_never_trained_is_told(tmp_path: Path, learnt: tuple[tuple[str, ...], ...]) -> None:
    for name in ("train/wave", "train/clap", "train/jump", "test/wave", "test/clap", "test/jump", "test/run"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.mp4").touch()
    if learnt:  # other new classes are there
        (tmp_path / "train/spin").mkdir()
        (tmp_path / "train/spin/a.mp4").touch()
    videos = read_videos(FolderData(root=str(tmp_path)), lambda *_: None, learnt)
    assert {video.label for video in videos if video.split == "train"} == (
        {"spin"} if learnt else {"wave", "clap", "jump"}
    )
    settings = StageSettings(classes=(*LEARNT, ("run", "spin"))) if learnt else GROWN
    with pytest.raises(DataError, match="'run' of stage 3 has no train video"):
        read_stages(settings, videos, learnt, FOLDER)
