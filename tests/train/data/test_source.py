"""Which videos a recipe asks for: all of a stage to be learnt, none of a learnt one."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import pytest

from stpr.runtime.contract.errors import DataError, RecipeError
from stpr.train.data.source import missing, read_lists, read_stages, read_videos, skip_list
from stpr.train.data.stages import Stage
from stpr.train.datasets.annotations import SPLITS, Video
from stpr.train.datasets.csv_list import CsvList
from stpr.train.datasets.dataset import Dataset, Listed
from stpr.train.datasets.folder import Folder
from stpr.train.datasets.motions import Motions
from stpr.train.datasets.skip_list import SkipList
from stpr.train.datasets.ssv2 import Ssv2
from stpr.train.settings.recipe import StageSettings

LEARNT = (("wave", "clap"), ("jump",))
GROWN = StageSettings(classes=(*LEARNT, ("run",)))
ROOT = Path("videos")


def videos_of(*classes: str, splits: tuple[str, ...] = SPLITS) -> list[Video]:
    return [
        Video(ROOT / f"{split}/{name}/a.mp4", name, split)
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
    stages = read_stages(GROWN, Listed(ROOT, [*left, *videos_of("run")]), LEARNT)
    assert stages == [Stage(1, ("wave", "clap")), Stage(2, ("jump",)), Stage(3, ("run",))]


@pytest.mark.parametrize(
    ("settings", "videos", "message"),
    [
        (GROWN, videos_of("run", splits=("test",)), "'run' of stage 3 has no train video"),
        (GROWN, videos_of("run", splits=("train",)), "'run' of stage 3 has no test video"),
        (GROWN, [], "stage 3 names the class 'run', which the data set does not have"),
        (GROWN, videos_of("run", "spin"), "no stage has 'spin'; add each to a stage or remove its videos"),
        (StageSettings(classes=LEARNT), videos_of("run"), "no stage has 'run'; add each to a stage"),
        (StageSettings(classes=(("run",), *LEARNT)), videos_of("run"), "stage 1 was learnt as 'wave', 'clap', but is"),
        (StageSettings(sizes=(2, 1, 1)), videos_of("run"), "stage 1 was learnt as 'wave', 'clap', but is"),
        (
            StageSettings(sizes=(2, 1)),
            videos_of("run"),
            r"started with 3 classes, but with this data set there are 4: stages drawn by \[stages\] sizes can't be",
        ),
    ],
)
def test_a_later_stage_that_can_not_be_learnt(settings: StageSettings, videos: list[Video], message: str) -> None:
    with pytest.raises((RecipeError, DataError), match=message) as caught:
        read_stages(settings, Listed(ROOT, videos), LEARNT)
    assert "\n" not in caught.value.message


def test_a_draw_is_the_same_after_old_videos_went() -> None:
    names, settings = ("a", "b", "c", "d", "e"), StageSettings(sizes=(2, 2, 1), seed=5)
    stages = read_stages(settings, Listed(ROOT, videos_of(*names)), ())
    learnt = (stages[0].classes, stages[1].classes)
    assert read_stages(settings, Listed(ROOT, videos_of(*stages[2].classes)), learnt) == stages


def test_a_draw_shuffles_the_label_ids_where_the_lists_give_them() -> None:
    videos, settings = videos_of("a", "b", "c", "d"), StageSettings(sizes=(4,), seed=5)
    (by_name,) = read_stages(settings, Listed(ROOT, videos), ())
    (by_id,) = read_stages(settings, Listed(ROOT, videos, classes=("d", "b", "a", "c")), ())
    assert by_id.classes == tuple({"a": "d", "b": "b", "c": "a", "d": "c"}[name] for name in by_name.classes)


def test_fixed_stages_need_lists_that_fix_them() -> None:
    videos, fixed = videos_of("a", "b"), StageSettings(fixed=True)
    with pytest.raises(
        RecipeError, match=r'fixed = true needs data whose lists fix the stages \(such as kind = "vclimb"\)'
    ):
        read_stages(fixed, Listed(ROOT, videos), ())
    stages = read_stages(fixed, Listed(ROOT, videos, classes=("b", "a"), stages=(("b",), ("a",))), ())
    assert [stage.classes for stage in stages] == [("b",), ("a",)]


def put(root: Path, *names: str) -> None:
    """Files that differ."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name, encoding="utf-8")


def read(data: Dataset, learnt: tuple[tuple[str, ...], ...] = ()) -> list[Video]:
    return read_videos(data, lambda *_: None, learnt).videos


class Made(Dataset, frozen=True):
    """A data set of one's own."""

    def listed(self) -> Listed:
        folder = self.path("")
        old = [Video(folder / f"{split}/wave/{name}.mp4", "wave", split) for split in SPLITS for name in "ba"]
        new = [Video(folder / f"{split}/run/{name}.mp4", "run", split) for split in SPLITS for name in "dc"]
        return Listed(folder, [*new, *old], classes=("wave", "run"), faults={"jump": "jump has no video."})


def names(listed: Listed) -> list[str]:
    return ["/".join(video.path.parts[-3:]) for video in listed.videos]


def test_what_lists_say_does_not_need_the_videos(tmp_path: Path) -> None:
    data = Made(root=str(tmp_path))
    with pytest.raises(DataError, match="jump has no video"):
        read_lists(data)
    listed = read_lists(data, [("jump",)])
    assert listed.videos == sorted(data.listed().videos, key=lambda video: video.path)
    assert listed.classes == ("wave", "run")
    put(tmp_path, "test/wave/b.mp4", "train/wave/b.mp4", "test/run/c.mp4")
    assert [video.path.name for video in missing(listed.videos)] == ["d.mp4", "a.mp4", "c.mp4", "d.mp4", "a.mp4"]
    assert names(read_lists(data, [("jump", "wave")], SkipList(tmp_path / "s", {"test/run/c.mp4": 1}))) == [
        "test/run/d.mp4",
        "test/wave/b.mp4",  # the only one of a learnt class to test that is there
        "train/run/c.mp4",
        "train/run/d.mp4",
    ]


def test_a_folder_that_can_not_be_listed_is_told(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    rows = f"path,label,split\n{'x' * 300}/a.mp4,wave,train\nb.mp4,wave,test\n"
    (tmp_path / "clips.csv").write_text(rows, encoding="utf-8")
    with pytest.raises(DataError, match=r"the folder .*/clips/x+ can't be listed \(File name too long\); fix"):
        read(CsvList(root=str(tmp_path)))


def test_of_thousands_the_missing_one_is_named(tmp_path: Path) -> None:
    names = [f"{index:04}.webm" for index in range(4000)]
    put(tmp_path / "clips", *names)
    (tmp_path / "clips/2718.webm").unlink()
    rows = [f"{name},wave,{SPLITS[index % 2]}" for index, name in enumerate(names)]
    (tmp_path / "clips.csv").write_text("\n".join(["path,label,split", *rows]), encoding="utf-8")
    (tmp_path / "category.txt").write_text("wave\n", encoding="utf-8")
    for split, start in (("train", 0), ("val", 1)):
        lines = "".join(f"{name} 0\n" for name in names[start::2])
        (tmp_path / f"ssv2_{split}.txt").write_text(lines, encoding="utf-8")
    for data, said in (
        (
            CsvList(root=str(tmp_path)),
            rf"1 of the 4000 videos named in {tmp_path}/clips\.csv are missing in .*/clips: '2718\.webm'",
        ),
        (
            Ssv2(root=str(tmp_path), lists=".", videos="clips"),
            rf"1 of the 4000 videos named in the lists of {tmp_path} are missing in .*/clips: '2718\.webm'",
        ),
    ):
        with pytest.raises(DataError, match=said) as caught:
            read(data)
        assert "\n" not in caught.value.message


@pytest.mark.parametrize("skip", ["", "skip.txt", "absolute"])
def test_every_kind_of_data_has_a_skip_list(tmp_path: Path, skip: str) -> None:
    put(tmp_path, "train/a/1.mp4", "train/a/2.mp4", "test/a/3.mp4")
    (tmp_path / "clips.csv").write_text(
        "path,label,split\ntrain/a/1.mp4,a,train\ntrain/a/2.mp4,a,train\ntest/a/3.mp4,a,test\n"
    )
    (tmp_path / "skip.txt").write_text("train/a/2.mp4\n", encoding="utf-8")
    file = str(tmp_path / "skip.txt") if skip == "absolute" else skip
    for data in (Folder(root=str(tmp_path), skip=file), CsvList(root=str(tmp_path), videos=".", skip=file)):
        assert [video.path.name for video in read(data)] == ["3.mp4", "1.mp4"] + ["2.mp4"] * (skip == "")
        assert len(skip_list(data).lines) == (skip != "")


def test_a_generated_set_has_a_skip_list_too(tmp_path: Path) -> None:
    data = Motions(root=str(tmp_path / "set"), train_per_class=1, test_per_class=1)
    videos = read(data)
    (tmp_path / "set/skip.txt").write_text("slide_left/test_0.mp4\n", encoding="utf-8")
    left = read(msgspec.structs.replace(data, skip="skip.txt"))
    assert {video.path.relative_to(tmp_path).as_posix() for video in {*videos} - {*left}} == {
        "set/clips/slide_left/test_0.mp4"
    }


def test_splits_that_overlap_stop_before_training(tmp_path: Path) -> None:
    put(tmp_path, "train/wave/a.mp4", "train/wave/c.mp4", "test/wave/d.mp4")
    (tmp_path / "test/wave/b.mp4").symlink_to(tmp_path / "train/wave/a.mp4")
    with pytest.raises(DataError, match=r"test/wave/b\.mp4 is for testing and .*train/wave/a\.mp4 for training, but"):
        read(Folder(root=str(tmp_path)))
    (tmp_path / "skip.txt").write_text("train/wave/a.mp4\n", encoding="utf-8")
    assert len(read(Folder(root=str(tmp_path), skip="skip.txt"))) == 3


@pytest.mark.parametrize("learnt", [(), LEARNT])
def test_a_class_that_is_tested_but_never_trained_is_told(tmp_path: Path, learnt: tuple[tuple[str, ...], ...]) -> None:
    for name in ("train/wave", "train/clap", "train/jump", "test/wave", "test/clap", "test/jump", "test/run"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.mp4").write_text(name)
    if learnt:  # other new classes are there
        (tmp_path / "train/spin").mkdir()
        (tmp_path / "train/spin/a.mp4").write_text("spin")
    listed = read_videos(Folder(root=str(tmp_path)), lambda *_: None, learnt)
    assert {video.label for video in listed.videos if video.split == "train"} == (
        {"spin"} if learnt else {"wave", "clap", "jump"}
    )
    settings = StageSettings(classes=(*LEARNT, ("run", "spin"))) if learnt else GROWN
    with pytest.raises(DataError, match="'run' of stage 3 has no train video"):
        read_stages(settings, listed, learnt)


def test_classes_that_differ_only_in_case_or_spaces_are_said_learnt_ones_too(tmp_path: Path) -> None:
    labels = ("Wave", "wave", "clap", "clap 2")
    put(tmp_path, *(f"{split}/{label}/{split}.mp4" for split in SPLITS for label in labels))
    (said,) = read_videos(Folder(root=str(tmp_path)), lambda *_: None, (("wave ",),)).notes
    assert said == "classes of their own, though they differ only in case or spaces: 'Wave' and 'wave' and 'wave '"
