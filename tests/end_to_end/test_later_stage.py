"""The promise: a new stage arrives months later, and the old videos are gone."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from stpr.runtime.motions import CLASSES
from stpr.train.cli import main
from stpr.train.data.clips import lengths_of
from stpr.train.datasets.motions_writer import write_motions
from stpr.train.run.checkpoint import read_record
from stpr.train.settings.load import load_recipe

OLD, NEW = (CLASSES[0:2], CLASSES[2:4]), CLASSES[4:6]
SPLITS = ("train", "test")
REST = """
[backbone]
source = "tiny"
projection = 12
[adapter]
place = "feature"
[class_vectors]
kind = "prototypes"
[router]
kind = "likelihood"
[fusion]
evidence = 0.5
[sampling]
frames = 4
draws = 1
[expert]
layers = 1
mlp_ratio = 1
[optimizer]
batch = 4
epochs_first = 2
epochs_later = 2
"""
EXTENDS = ("head.class_vectors", "head.anchors", "head.statistics.views.0.means")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def motions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_motions(tmp_path_factory.mktemp("motions") / "set", train_per_class=4, test_per_class=3, seed=0)


def lay_out(motions: Path, root: Path, classes: Sequence[str], *splits: str) -> Path:
    """`root/SPLIT/CLASS/*.mp4` of these classes and splits."""
    for split, name in itertools.product(splits, classes):
        folder = root / split / name
        folder.mkdir(parents=True)
        for video in (motions / "clips" / name).glob(f"{split}_*.mp4"):
            shutil.copy(video, folder / video.name)
    return root


def write_recipe(file: Path, root: Path, stages: Sequence[Sequence[str]], *, kind: str = "folder") -> Path:
    classes = json.dumps([list(names) for names in stages])
    data = f'[data]\nkind = "{kind}"\nroot = "{root}"\n[stages]\nclasses = {classes}'
    file.write_text(f'name = "mine"\n{data}{REST}', encoding="utf-8")
    return file


def train(recipe: Path, out: Path, *extra: str) -> Result:
    return CliRunner().invoke(main, [str(recipe), "--out", str(out), *extra])


def done(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(result: Result, said: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.splitlines()) == 1
    assert said in result.stderr


def figures(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "metrics.json").read_text(encoding="utf-8")))


def tensors(run: Path, stage: int) -> dict[str, torch.Tensor]:
    return dict(load_file(run / f"stage-{stage}" / "model.safetensors"))


def predictions(run: Path, stage: int) -> list[tuple[str, ...]]:
    """Class folder and file name, label, predicted label."""
    with (run / f"stage-{stage}" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [("/".join(Path(row["path"]).parts[-2:]), row["label"], row["predicted"]) for row in rows]


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.fixture(scope="module")
def whole(motions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three stages in one go, every video at hand."""
    work = tmp_path_factory.mktemp("whole")
    root = lay_out(motions, work / "videos", [*OLD[0], *OLD[1], *NEW], *SPLITS)
    said = done(train(write_recipe(work / "mine.toml", root, [*OLD, NEW]), work / "run"))
    assert "on all 6 classes after stage 3" in said
    assert "note:" not in said
    return work / "run"


@pytest.fixture(scope="module")
def two(motions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stages, after which their videos are gone for good."""
    work = tmp_path_factory.mktemp("two")
    root = lay_out(motions, work / "videos", [*OLD[0], *OLD[1]], *SPLITS)
    done(train(write_recipe(work / "mine.toml", root, OLD), work / "run"))
    shutil.rmtree(root)
    return work / "run"


@pytest.fixture
def run(two: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(two, tmp_path / "run"))


@pytest.fixture
def grown(tmp_path: Path) -> Path:
    """The recipe with a third list; its root is gone, so every test says where the new videos lie."""
    return write_recipe(tmp_path / "mine.toml", tmp_path / "gone", [*OLD, NEW])


def test_a_stage_is_learnt_when_every_old_video_is_gone(
    motions: Path, run: Path, whole: Path, grown: Path, tmp_path: Path
) -> None:
    new = lay_out(motions, tmp_path / "new", NEW, *SPLITS)
    said = done(train(grown, run, "--data", str(new), "--resume"))
    assert "on 2 of 6 classes after stage 3" in said
    assert "backward forgetting unknown" in said
    assert "note:   2 of 3 stages could not be tested because their videos are gone: 1, 2." in said

    found, before = figures(run), figures(whole)
    assert found["accuracy"] == [*before["accuracy"][:2], [None, None, before["accuracy"][2][2]]]
    assert found["seen"] == [*before["seen"][:2], found["accuracy"][2][2]]
    assert found["final"] == found["seen"][-1]
    assert found["backward_forgetting"] == 0
    assert found["routing"][:2] == [None, None]
    assert found["routing"][2] == before["routing"][2]
    assert {label for _, label, _ in predictions(run, 3)} == set(NEW)
    assert "2 of 3 stages could not be tested" in (run / "report" / "report.md").read_text(encoding="utf-8")

    recipe = load_recipe(str(run / "recipe.toml"))
    assert (recipe.stages.classes, recipe.data.root) == ((*OLD, NEW), str(new))
    assert read_record(run, 3).stages == (*OLD, NEW)
    assert same(tensors(run, 3), tensors(whole, 3))  # learning took nothing from the old videos


def test_what_the_old_stages_left_stays_as_it_was(motions: Path, run: Path, grown: Path, tmp_path: Path) -> None:
    record = read_record(run, 2)
    kept = {path: path.read_bytes() for path in run.glob("stage-*/*")}
    new = lay_out(motions, tmp_path / "new", NEW, *SPLITS)
    done(train(grown, run, "--data", str(new), "--resume"))
    assert all(path.read_bytes() == content for path, content in kept.items())
    before, after = tensors(run, 2), tensors(run, 3)
    experts = [name for name in before if name.startswith("head.experts.")]
    assert {name.split(".")[2] for name in experts} == {"0", "1"}
    assert all(torch.equal(before[name], after[name]) for name in (*experts, "encoder.projection.basis"))
    for name in EXTENDS:
        assert (len(before[name]), len(after[name])) == (4, 6)
        assert torch.equal(before[name], after[name][:4])
    # A device must not see its window change because only the new videos are here.
    assert read_record(run, 3).clip == record.clip
    assert record.clip.span_seconds != statistics.median(lengths_of(sorted(new.glob("train/*/*.mp4"))).values())


@pytest.mark.parametrize("old_train", ["gone", "emptied", "damaged"])
def test_with_old_test_videos_the_run_is_the_uninterrupted_one(
    motions: Path, run: Path, whole: Path, grown: Path, tmp_path: Path, old_train: str
) -> None:
    root = lay_out(motions, tmp_path / "later", NEW, "train")
    lay_out(motions, root, [*OLD[0], *OLD[1], *NEW], "test")
    if old_train != "gone":
        (root / "train" / OLD[0][0]).mkdir()
    if old_train == "damaged":
        (root / "train" / OLD[0][0] / "a.mp4").write_text("no video")
    said = done(train(grown, run, "--data", str(root), "--resume"))
    assert "on all 6 classes after stage 3" in said
    assert "note:" not in said
    for stage in (1, 2, 3):
        assert same(tensors(run, stage), tensors(whole, stage))
        assert predictions(run, stage) == predictions(whole, stage)
    one, other = figures(run), figures(whole)
    assert one["accuracy"][2] == other["accuracy"][2]
    assert None not in one["accuracy"][2]
    assert [len(digests) for digests in one["lists"].values()] == [2]  # that of the first stages, that of the new one
    assert one["unknown"][2] == other["unknown"][2]  # before, it did not know of classes yet to come
    changing = {"seconds", "environment", "lists", "unknown"}
    assert {name: one[name] for name in one.keys() - changing} == {
        name: other[name] for name in other.keys() - changing
    }


def test_what_is_left_of_a_stage_is_tested(motions: Path, run: Path, grown: Path, tmp_path: Path) -> None:
    root = lay_out(motions, tmp_path / "later", NEW, *SPLITS)
    lay_out(motions, root, OLD[1][:1], "test")
    said = done(train(grown, run, "--data", str(root), "--resume"))
    assert "on 3 of 6 classes after stage 3" in said
    assert "note:   1 of 3 stages could not be tested because its videos are gone: 1." in said
    assert f"note:   Stage 2 was tested without '{OLD[1][1]}': no test video of theirs is left." in said
    first, second, third = figures(run)["accuracy"][2]
    assert first is None
    right = [label == predicted for _, label, predicted in predictions(run, 3) if label == OLD[1][0]]
    assert len(right) == 3
    assert second == pytest.approx(sum(right) / 3)
    assert third is not None


def test_a_list_may_go_on_naming_the_videos_that_are_gone(
    motions: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (*OLD[0], *OLD[1], *NEW):
        shutil.copytree(motions / "clips" / name, Path("set") / "clips" / name)
    header, *rows = (motions / "clips.csv").read_text(encoding="utf-8").splitlines()

    def list_videos(*classes: str) -> None:
        listed = [row for row in rows if row.split(",")[1] in classes]
        Path("set/clips.csv").write_text("\n".join([header, *listed]) + "\n", encoding="utf-8")

    list_videos(*OLD[0], *OLD[1])
    done(train(write_recipe(Path("mine.toml"), Path("set"), OLD, kind="csv"), Path("run")))
    list_videos(*OLD[0], *OLD[1], *NEW)
    shutil.rmtree(Path("set/clips") / OLD[0][0])
    for name, video in itertools.product((*OLD[0][1:], *OLD[1]), ("train_0.mp4", "train_1.mp4", "test_0.mp4")):
        (Path("set/clips") / name / video).unlink()
    assert "Stage 1 was tested without" in done(
        train(write_recipe(Path("mine.toml"), Path("set"), [*OLD, NEW], kind="csv"), Path("run"), "--resume")
    )
    assert same(tensors(Path("run"), 3), tensors(whole, 3))
    with Path("run/stage-3/predictions.csv").open(encoding="utf-8") as file:
        paths = [Path(row["path"]) for row in csv.DictReader(file)]
    assert len(paths) == 3 * 2 + 3 * 2  # all of the new ones, and two of three old ones
    assert all(path.is_absolute() and path.is_file() for path in paths)  # wherever the exporter is run


@pytest.mark.parametrize(
    ("stages", "splits", "said"),
    [
        ([*OLD, NEW], ("test",), f"the class '{NEW[0]}' of stage 3 has no train video"),
        ([*OLD, NEW], ("train",), f"the class '{NEW[0]}' of stage 3 has no test video"),
        (OLD, SPLITS, f"no stage has '{NEW[0]}', '{NEW[1]}'; add each to a stage or remove its videos"),
        ([OLD[0], NEW], SPLITS, f"stage 2 was learnt as '{OLD[1][0]}', '{OLD[1][1]}', but is '{NEW[0]}', '{NEW[1]}'"),
        ([*OLD, NEW, ["fly"]], SPLITS, "stage 4 names the class 'fly', which the data set does not have"),
    ],
)
def test_a_stage_that_can_not_be_learnt_leaves_the_run_alone(
    motions: Path, run: Path, tmp_path: Path, stages: list[list[str]], splits: tuple[str, ...], said: str
) -> None:
    root = lay_out(motions, tmp_path / "new", NEW, *splits)
    for split in set(SPLITS) - set(splits):
        (root / split / OLD[0][0]).mkdir(parents=True)  # emptied
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    refused(train(write_recipe(tmp_path / "mine.toml", root, stages), run, "--resume"), said)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_draw_of_stages_is_extended_by_listing_them(motions: Path, tmp_path: Path) -> None:
    root = lay_out(motions, tmp_path / "videos", OLD[0], *SPLITS)
    recipe, run = write_recipe(tmp_path / "mine.toml", root, OLD), tmp_path / "run"
    listed = recipe.read_text(encoding="utf-8")
    start, end = listed.index("classes = "), listed.index("[backbone]")
    recipe.write_text(f"{listed[:start]}sizes = [1, 1]\n{listed[end:]}", encoding="utf-8")
    done(train(recipe, run))
    learnt = figures(run)["stages"]
    shutil.rmtree(root)
    lay_out(motions, root, NEW, *SPLITS)
    refused(train(recipe, run, "--resume"), "the run was started with 2 classes, but with this data set there are 4")
    refused(
        train(recipe, run, "--resume", "--set", "stages.sizes=[1, 1, 2]"), "was started with other stages: stages drawn"
    )
    done(train(write_recipe(recipe, root, [*learnt, NEW]), run, "--resume"))
    assert figures(run)["stages"] == [*learnt, list(NEW)]


def test_the_figures_tell_the_command(
    motions: Path, run: Path, grown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = lay_out(motions, tmp_path / "new", NEW, *SPLITS)
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/stpr-train", "mine.toml", "--data", "new videos"])
    done(train(grown, run, "--data", str(new), "--resume"))
    assert figures(run)["environment"]["command"] == "stpr-train mine.toml --data 'new videos'"
