"""The benchmarks' lists: what they hold, the order of their classes, and the stages that the shipped recipes make."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stpr.runtime.contract.errors import DataError
from stpr.runtime.contract.names import in_order
from stpr.train.data.source import read_lists, read_stages, read_videos
from stpr.train.datasets.annotations import SPLITS, Video
from stpr.train.datasets.dataset import Dataset, Listed
from stpr.train.datasets.hmdb51 import Hmdb51
from stpr.train.datasets.kinetics400 import Kinetics400
from stpr.train.datasets.ssv2 import Ssv2
from stpr.train.datasets.ucf101 import Ucf101
from stpr.train.datasets.vclimb import Vclimb
from stpr.train.methods import cautions
from stpr.train.settings.load import load_recipe
from stpr.train.settings.recipe import Recipe, StageSettings
from stpr.train.settings.shipped import shipped_recipes

TCD = {  # recipe -> its row in the class orders that are laid down
    "ucf101-10x5": "51+10x",
    "ucf101-5x10": "51+5x",
    "ucf101-2x25": "51+2x",
    "hmdb51-5x5": "26+5x",
    "hmdb51-1x25": "26+1x",
    "ssv2-10x9": "84+10x",
    "ssv2-5x18": "84+5x",
}
VCLIMB = {"vclimb-ucf101-10": "UCF101_data", "vclimb-ucf101-20": "UCF101_data_20tasks"}
KINETICS = {"kinetics400-10": 10, "kinetics400-20": 20}


def official(splits: Path, recipe: str, *changes: str) -> Recipe:
    """The shipped recipe over the official lists, which lie flat there."""
    folder = splits if recipe in VCLIMB else splits / recipe.partition("-")[0]
    flat = [] if recipe in VCLIMB else ["data.lists=."]
    return load_recipe(recipe, changes=[*flat, *changes], root=str(folder))


@functools.cache
def once(data: Dataset) -> Listed:
    return data.listed()  # SSv2 lists 193,690 videos


def counts(data: Dataset) -> tuple[int, int, int]:
    listed = once(data)
    found = Counter(video.split for video in listed.videos)
    assert {video.label for video in listed.videos} == set(listed.classes)
    return len(listed.classes), found["train"], found["test"]


@pytest.mark.parametrize(("split", "train", "test"), [(1, 9537, 3783), (2, 9586, 3734), (3, 9624, 3696)])
def test_ucf101_has_the_published_counts(splits: Path, split: Any, train: int, test: int) -> None:
    assert counts(Ucf101(root=str(splits / "ucf101"), lists=".", split=split)) == (101, train, test)


def test_hmdb51_has_70_and_30_videos_per_class(splits: Path) -> None:
    data = Hmdb51(root=str(splits / "hmdb51"), lists=".")
    assert counts(data) == (51, 51 * 70, 51 * 30)
    listed = data.listed()
    per_class = Counter((video.label, video.split) for video in listed.videos)
    assert {per_class[label, "train"] for label in listed.classes} == {70}


def test_ssv2_has_the_published_counts(splits: Path) -> None:
    assert counts(Ssv2(root=str(splits / "ssv2"), lists=".")) == (174, 168_913, 24_777)


def test_the_label_ids_are_those_of_the_lists(splits: Path) -> None:
    ucf = Ucf101(root=str(splits / "ucf101"), lists=".").listed().classes
    for line in (splits / "ucf101/trainlist01.txt").read_text().splitlines():
        assert ucf[int(line.split(" ")[1]) - 1] == line.split("/")[0]
    assert list(ucf) != sorted(ucf)  # so the names alone would give another order
    hmdb = Hmdb51(root=str(splits / "hmdb51"), lists=".").listed().classes
    for line in (splits / "hmdb51/hmdb51_testlist01.txt").read_text().splitlines():
        _, number, path = line.split("\t")
        assert hmdb[int(number)] == path.split("/")[0]


@pytest.mark.parametrize("seed", [1000, 1993, 2021])
@pytest.mark.parametrize("name", TCD)
def test_the_stages_are_those_of_the_tcd_class_orders(splits: Path, name: str, seed: int) -> None:
    recipe = official(splits, name, f"seed={seed}")
    listed = once(recipe.data)
    stages = read_stages(recipe.stages, listed, ())
    laid_down = json.loads((splits / "tcd_class_orders.json").read_text())[name.partition("-")[0]][str(seed)]
    ids = laid_down["tasks"][TCD[name]]
    assert [stage.classes for stage in stages] == [tuple(listed.classes[one] for one in task) for task in ids]
    names = [one for stage in stages for one in stage.classes]
    assert sorted(names) == sorted(listed.classes)
    if "hmdb51" not in name:  # the names laid down for HMDB51 follow ClassInd.txt, not the ids of the lists
        assert names == laid_down["order_names"]


@pytest.mark.parametrize("name", TCD)
def test_a_tcd_recipe_has_the_first_of_the_seeds_and_the_official_split(name: str) -> None:
    recipe = load_recipe(name)
    base, size = map(int, TCD[name].removesuffix("x").split("+"))
    assert recipe.stages.seed == 1000
    assert recipe.stages.sizes == (base, *[size] * int(name.rpartition("x")[2]))
    assert getattr(recipe.data, "split", 1) == 1


@pytest.mark.parametrize("name", [*TCD, *VCLIMB, *KINETICS])
def test_a_recipe_of_the_paper_keeps_its_settings(name: str) -> None:
    assert name in shipped_recipes()
    recipe = load_recipe(name)
    plain = load_recipe("ucf101-10x5")
    assert recipe.backbone.source == "openai/clip-vit-base-patch16"
    assert recipe.class_vectors.kind == "text"
    assert recipe.sampling.augment.flip is not name.startswith("ssv2")  # "left to right" is a class there
    for section in ("expert", "router", "fusion", "adapter", "preservation", "contrast", "optimizer"):
        assert getattr(recipe, section) == getattr(plain, section)


@pytest.mark.parametrize("name", VCLIMB)
def test_the_vclimb_stages_are_the_fixed_tasks(splits: Path, name: str) -> None:
    recipe = official(splits, name)
    tasks = json.loads((splits / "vclimb_task_classes.json").read_text())[VCLIMB[name]]
    listed = read_lists(recipe.data)
    stages = read_stages(recipe.stages, listed, ())
    assert [stage.classes for stage in stages] == [tuple(task) for task in tasks["train"]]
    found = Counter((video.label, video.split) for video in listed.videos)
    for split in SPLITS:
        assert {label: count for task in tasks[split] for label, count in task.items()} == {
            label: count for (label, part), count in found.items() if part == split
        }


def groups(videos: Sequence[Video], split: str) -> set[tuple[str, str]]:
    """Class and group of each video: videos of one group show the same people in the same place."""
    named = [(video.label, re.search(r"_(g\d\d)_", video.path.name)) for video in videos if video.split == split]
    return {(label, group[1]) for label, group in named if group}


def test_vclimb_tests_on_groups_it_trains_on_and_the_official_split_does_not(splits: Path) -> None:
    lists: dict[str, Dataset] = {
        "official": Ucf101(root=str(splits / "ucf101"), lists="."),
        "vclimb": Vclimb(root=str(splits)),
    }
    shared = {}
    for name, data in lists.items():
        videos = data.listed().videos
        shared[name] = len(groups(videos, "train") & groups(videos, "test")) / len(groups(videos, "test"))
    assert shared["official"] == 0
    assert shared["vclimb"] > 0.99


@pytest.mark.parametrize("name", KINETICS)
def test_kinetics_has_400_classes_in_equal_disjoint_stages(splits: Path, tmp_path: Path, name: str) -> None:
    names = splits / "kinetics400/kinetics_label_map.txt"
    classes = [line.split(" ", 1)[1] for line in names.read_text().splitlines()]
    for split in ("train", "val"):
        rows = [f'"{label}",{split}-id,7,17,{split},0' for label in classes]
        write(tmp_path, f"{split}.csv", "label,youtube_id,time_start,time_end,split,is_cc", *rows)
    recipe = load_recipe(name, changes=[f"data.classes={names}"], root=str(tmp_path))
    listed = read_lists(recipe.data)
    assert listed.classes == tuple(classes)
    stages = read_stages(recipe.stages, listed, ())
    assert [len(stage.classes) for stage in stages] == [400 // KINETICS[name]] * KINETICS[name]
    assert sorted(one for stage in stages for one in stage.classes) == sorted(classes)


# Small lists of the official forms, and empty files for videos, which readers never open.


def write(root: Path, name: str, *lines: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def ucf101(root: Path) -> Dataset:
    lists = "ucfTrainTestlist"
    write(root, f"{lists}/classInd.txt", "1 JumpingJack", "2 JumpRope")  # not the order of the names
    write(root, f"{lists}/trainlist02.txt", "JumpRope/v_JumpRope_g02_c01.avi 2", "JumpingJack/v_J_g02_c01.avi 1")
    write(root, f"{lists}/testlist02.txt", "JumpRope/v_JumpRope_g01_c01.avi", "JumpingJack/v_J_g01_c01.avi")
    return Ucf101(root=str(root), split=2)


def hmdb51(root: Path) -> Dataset:
    write(root, "lists/ClassInd.txt", "1 wave", "2 chew")  # columns of a page, not the ids of the lists
    write(root, "lists/hmdb51_trainlist01.txt", "0\t0\tchew/a b!.avi", "1\t1\twave/[c];.avi")
    write(root, "lists/hmdb51_testlist01.txt", "0\t0\tchew/d.avi", "1\t1\twave/e.avi")
    return Hmdb51(root=str(root), lists="lists")


def hmdb51_official(root: Path) -> Dataset:
    for number in range(51):
        lines = [f"{number}_{use}.avi {use} " for use in (0, 1, 2)]
        write(root, f"testTrainMulti_7030_splits/some_class{number:02d}_test_split3.txt", *lines)
    return Hmdb51(root=str(root), split=3)


def ssv2(root: Path) -> Dataset:
    write(root, "lists/category.txt", "Moving something", "Holding something, then letting it go")
    write(root, "lists/ssv2_train.txt", "78.webm 1", "9.webm 0")
    write(root, "lists/ssv2_val.txt", "5.webm 0", "6.webm 1")
    return Ssv2(root=str(root), lists="lists", videos=".")


def ssv2_official(root: Path) -> Dataset:
    write(root, "labels/labels.json", '{"Moving something": "0", "Holding something": "1"}')
    write(root, "labels/train.json", json.dumps([video("78", "Holding [something]"), video("9", "Moving [something]")]))
    write(
        root,
        "labels/validation.json",
        json.dumps([video("5", "Moving [something]"), video("6", "Holding [something]")]),
    )
    return Ssv2(root=str(root))


def video(name: str, template: str) -> dict[str, Any]:
    return {"id": name, "label": "holding a cup", "template": template, "placeholders": ["a cup"]}


def kinetics400(root: Path) -> Dataset:
    header = "label,youtube_id,time_start,time_end,split,is_cc"
    write(root, "kinetics_label_map.txt", "1 zumba", "2 shooting goal (soccer)")
    write(root, "train.csv", header, "zumba,-3B32lodo2M,59,69,train,0", "shooting goal (soccer),_dbc,0,10,train,0")
    write(root, "val.csv", header, "zumba,a,1,11,val,0", '"shooting goal (soccer)",b,100,110,val,0')
    return Kinetics400(root=str(root))


def vclimb(root: Path) -> Dataset:
    tasks = {part: [{"YoYo": [f"v_YoYo_{part}"]}, {"Archery": [f"v_A_{part}"]}] for part in ("train", "val", "test")}
    write(root, "UCF101_data.json", json.dumps(tasks))
    return Vclimb(root=str(root))


OVERLAP = (
    "the lists of .* name .*/v_JumpRope_g01_c01.avi for both training and testing; get the lists from their authors"
)
TREES = [ucf101, hmdb51, hmdb51_official, ssv2, ssv2_official, kinetics400, vclimb]


def place_videos(data: Dataset) -> list[Video]:
    videos = read_lists(data).videos
    for one in videos:
        one.path.parent.mkdir(parents=True, exist_ok=True)
        one.path.touch()
    return videos


def read(data: Dataset, learnt: Sequence[tuple[str, ...]] = ()) -> list[Video]:
    return read_videos(data, lambda *_: None, learnt).videos


@pytest.mark.parametrize("tree", TREES)
def test_a_benchmark_is_read_and_a_missing_video_named(tree: Any, tmp_path: Path) -> None:
    data = tree(tmp_path)
    videos = place_videos(data)
    assert read(data) == videos == sorted(videos, key=lambda one: in_order(one.path))
    gone = videos[1]
    gone.path.unlink()
    name = gone.path.relative_to(tmp_path / data.videos)
    with pytest.raises(
        DataError, match=rf"^1 of the {len(videos)} videos .* missing in .*: {re.escape(repr(str(name)))};"
    ):
        read(data)
    for one in videos[2:]:
        one.path.unlink()
    with pytest.raises(DataError, match=rf"^{len(videos) - 1} of the {len(videos)} videos"):
        read(data)


@pytest.mark.parametrize("tree", TREES)
def test_a_skip_list_is_the_way_to_leave_a_video_out(tree: Any, tmp_path: Path) -> None:
    data = tree(tmp_path)
    videos = place_videos(data)
    videos[1].path.unlink()
    write(tmp_path, "skip.txt", "# gone", videos[1].path.relative_to(tmp_path / data.videos).as_posix())
    assert read(msgspec.structs.replace(data, skip="skip.txt")) == [videos[0], *videos[2:]]
    write(tmp_path, "skip.txt", "other.avi")
    with pytest.raises(DataError, match=r"skip\.txt, line 1: 'other\.avi' is not one of the videos"):
        read(msgspec.structs.replace(data, skip="skip.txt"))


@pytest.mark.parametrize("tree", TREES)
def test_learnt_classes_need_no_video_and_keep_their_place(tree: Any, tmp_path: Path) -> None:
    data = tree(tmp_path)
    videos, listed = place_videos(data), read_lists(data)
    settings = StageSettings(sizes=(1, len(listed.classes) - 1), seed=3)
    stages = read_stages(settings, listed, ())
    learnt = (stages[0].classes,)
    old = [one for one in videos if one.label in learnt[0]]
    for one in old:
        if one.split == "train":
            one.path.unlink()
    left = read(data, learnt)
    assert left == [one for one in videos if one not in old or one.split == "test"]
    for one in old:
        one.path.unlink(missing_ok=True)
    assert read(data, learnt) == [one for one in videos if one not in old]
    assert read_stages(settings, read_lists(data, learnt), learnt) == stages


@pytest.mark.parametrize(
    ("tree", "classes"),
    [
        (ucf101, ("JumpingJack", "JumpRope")),
        (hmdb51, ("chew", "wave")),
        (ssv2, ("Moving something", "Holding something, then letting it go")),
        (ssv2_official, ("Moving something", "Holding something")),
        (kinetics400, ("zumba", "shooting goal (soccer)")),
        (vclimb, ("YoYo", "Archery")),
    ],
)
def test_a_draw_shuffles_the_label_ids(tree: Any, classes: tuple[str, ...], tmp_path: Path) -> None:
    data = tree(tmp_path)
    listed = read_lists(data)
    assert listed.classes == classes
    for seed, order in ((0, (1, 0)), (1, (0, 1))):  # what np.random.seed(seed) makes of arange(2)
        (stage,) = read_stages(StageSettings(sizes=(2,), seed=seed), listed, ())
        assert stage.classes == tuple(classes[place] for place in order)


def test_zero_in_an_official_hmdb51_file_is_neither_train_nor_test(tmp_path: Path) -> None:
    videos = hmdb51_official(tmp_path).listed().videos
    assert Video(tmp_path / "videos/some_class07/7_1.avi", "some_class07", "train") in videos
    assert Video(tmp_path / "videos/some_class07/7_2.avi", "some_class07", "test") in videos
    assert len(videos) == 2 * 51


def test_a_kinetics_file_is_named_by_id_and_seconds(tmp_path: Path) -> None:
    listed = kinetics400(tmp_path).listed()
    zumba, goal = "zumba/-3B32lodo2M_000059_000069.mp4", "shooting goal (soccer)/b_000100_000110.mp4"
    assert Video(listed.folder / zumba, "zumba", "train") in listed.videos
    assert Video(listed.folder / goal, "shooting goal (soccer)", "test") in listed.videos


@pytest.mark.parametrize(
    ("tree", "file", "expected"),
    [
        (ucf101, "ucfTrainTestlist/classInd.txt", "lists of UCF101TrainTestSplits-RecognitionTask.zip"),
        (ucf101, "ucfTrainTestlist/testlist02.txt", "lists of UCF101TrainTestSplits-RecognitionTask.zip"),
        (hmdb51, "lists/hmdb51_testlist01.txt", "testTrainMulti_7030_splits of test_train_splits.rar"),
        (ssv2, "lists/category.txt", "with category.txt, ssv2_train.txt and ssv2_val.txt"),
        (ssv2_official, "labels/train.json", r"the labels archive of Something-Something V2 \(labels.json"),
        (kinetics400, "val.csv", "the Kinetics-400 annotations belong there"),
        (kinetics400, "kinetics_label_map.txt", "lines of ID NAME"),
        (vclimb, "UCF101_data.json", "the task list of the vCLIMB benchmark belongs there.* rewritten as JSON"),
    ],
)
def test_a_missing_list_is_named_with_what_belongs_there(tree: Any, file: str, expected: str, tmp_path: Path) -> None:
    data = tree(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(DataError, match=f"{re.escape(str(tmp_path / file))} is missing: .*{expected}") as caught:
        read(data)
    assert "\n" not in caught.value.message


def test_an_official_hmdb51_folder_that_lacks_a_class_is_refused(tmp_path: Path) -> None:
    data = hmdb51_official(tmp_path)
    (tmp_path / "testTrainMulti_7030_splits/some_class00_test_split3.txt").unlink()
    with pytest.raises(DataError, match=r"has \*_test_split3.txt for 50 classes, not 51; testTrainMulti_7030_splits"):
        read(data)


@pytest.mark.parametrize(
    ("tree", "file", "lines", "said"),
    [
        (ucf101, "ucfTrainTestlist/classInd.txt", ["1 A", "JumpRope"], "line 2: 'JumpRope' is not ID NAME"),
        (ucf101, "ucfTrainTestlist/classInd.txt", ["1 A", "3 B"], "are not 1 to 2 without gaps"),
        (
            ucf101,
            "ucfTrainTestlist/trainlist02.txt",
            ["JumpRope/a.avi 1"],
            "gives JumpRope/a.avi the label 1, .* another",
        ),
        (
            ucf101,
            "ucfTrainTestlist/trainlist02.txt",
            ["Jump/a.avi 1"],
            "names the class 'Jump', which is not in the list",
        ),
        (ucf101, "ucfTrainTestlist/trainlist02.txt", ["JumpRope/a.avi 2", "JumpRope/a.avi 2"], "a.avi more than once"),
        (ucf101, "ucfTrainTestlist/trainlist02.txt", ["JumpRope/v_JumpRope_g01_c01.avi 2"], OVERLAP),
        (hmdb51, "lists/hmdb51_testlist01.txt", ["0\t0\tchew/a b!.avi"], "chew/a b!.avi for both training and testing"),
        (ssv2, "lists/ssv2_val.txt", ["78.webm 1"], "78.webm for both training and testing"),
        (ucf101, "ucfTrainTestlist/testlist02.txt", ["JumpRope 2"], "line 1: 'JumpRope 2' is not CLASS/VIDEO.avi"),
        (hmdb51, "lists/hmdb51_testlist01.txt", ["0\t1\tchew/d.avi"], "the label 1 is both 'wave' and 'chew'"),
        (
            hmdb51,
            "lists/hmdb51_testlist01.txt",
            ["0 1 chew/d.avi"],
            "is not NUMBER ID CLASS/VIDEO.avi, separated by tabs",
        ),
        (ssv2, "lists/ssv2_val.txt", ["5.webm 2"], "5.webm has the label 2, but .*category.txt ends at 1"),
        (
            ssv2_official,
            "labels/labels.json",
            ['{"Moving something": "x"}'],
            "labels.json does not have the expected content",
        ),
        (
            ssv2_official,
            "labels/train.json",
            ['[{"id": "1", "template": "Eating [something]"}]'],
            "class 'Eating something'",
        ),
        (kinetics400, "val.csv", ["label,youtube_id", "zumba,a"], "line 2 is not an annotation; the Kinetics"),
        (kinetics400, "val.csv", ["label,youtube_id,time_start,time_end", "yoga,a,1,2"], "names the class 'yoga'"),
        (vclimb, "UCF101_data.json", ['{"train": [{"YoYo": ["a"]}], "test": [{"Yo": []}]}'], "different classes"),
        (vclimb, "UCF101_data.json", ["\x80\x04"], "does not have the expected content"),
    ],
)
def test_a_broken_list_is_told(tree: Any, file: str, lines: list[str], said: str, tmp_path: Path) -> None:
    data = tree(tmp_path)
    write(tmp_path, file, *lines)
    with pytest.raises(DataError, match=said) as caught:
        read(data)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vclimb-ucf101-10", "training and test share groups"),
        ("vclimb-ucf101-20", "training and test share groups"),
        ("kinetics400-10", "the stages are drawn by a seed"),
        ("kinetics400-20", "the stages are drawn by a seed"),
        ("hmdb51-5x5", "ClassInd.txt contradicts"),
        ("ucf101-10x5", None),
        ("ssv2-10x9", None),
        ("motions", None),
    ],
)
def test_what_must_be_said_beside_the_figures(name: str, said: str | None) -> None:
    found = cautions(load_recipe(name))
    assert len(found) == (said is not None)
    assert all(said in sentence for sentence in found if said)


def test_listed_stages_are_not_called_drawn() -> None:
    recipe = load_recipe("kinetics400-10", changes=["stages={classes=[['a'],['b']]}"])
    assert cautions(recipe) == []
