"""A folder of videos in place of a recipe, from the first stage to one that is added when the videos are gone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from stpr.runtime.contract.errors import CheckpointError, DataError, RecipeError
from stpr.train.cli import main
from stpr.train.datasets.annotations import Video
from stpr.train.datasets.csv_list import CsvList
from stpr.train.run.checkpoint import read_record
from stpr.train.run.task import TaskOptions, read_task
from stpr.train.settings.automatic import has_auto
from stpr.train.settings.load import read_resolved, write_recipe
from tests.factories import make_video

TINY = "backbone.source=tiny"
QUICK = (TINY, "sampling.draws=1", "sampling.frames=3", "optimizer.epochs_first=2", "optimizer.epochs_later=2")


def write_classes(root: Path, *labels: str) -> Path:
    for label in labels:
        (root / label).mkdir(parents=True)
        for day, take in (("mon", 1), ("mon", 2), ("mon", 3), ("mon", 4), ("tue", 1)):
            make_video(root / label / f"{day}_{take}.avi")
    return root


def train(*arguments: object, sets: tuple[str, ...] = QUICK) -> Result:
    changes = [part for change in sets for part in ("--set", change)]
    return CliRunner().invoke(main, [*map(str, arguments), *changes])


def listed_videos(run: Path) -> list[Video]:
    return CsvList(root=str(run), file="videos.csv", videos="").listed().videos


def rows(run: Path) -> list[tuple[str, str, str]]:
    return sorted((video.path.stem, video.label, video.split) for video in listed_videos(run))


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that learnt two classes of a folder, which is gone."""
    work = tmp_path_factory.mktemp("work")
    videos = write_classes(work / "videos", "wave", "clap")
    result = train(videos, "--out", work / "run")
    assert result.exit_code == 0, result.output
    assert "note: 8 videos to train on and 2 to test on, split by recording" in result.stderr
    assert "backbone.projection = 0: " in result.stderr
    assert train(videos, "--out", work / "run", "--resume").exit_code == 0
    shutil.rmtree(videos)
    return work / "run"


@pytest.fixture
def run(learnt: Path, tmp_path: Path) -> Path:
    return shutil.copytree(learnt, tmp_path / "run")


def test_a_folder_is_learnt_as_one_stage_and_all_is_written_down(learnt: Path) -> None:
    assert read_record(learnt, 1).stages == (("clap", "wave"),)
    recipe = read_resolved(learnt / "recipe.toml")
    assert (recipe.name, recipe.backbone.source, recipe.adapter.place) == ("videos", "tiny", "feature")
    assert not has_auto(recipe)
    assert [row[2] for row in rows(learnt)] == ["train"] * 8 + ["test"] * 2  # by day
    said = CliRunner().invoke(main, ["audit", str(learnt)]).stdout
    assert "Paths are kept of test clips (predictions.csv), of all videos (videos.csv), of training clips," in said
    assert "name of a training file" not in said


@pytest.mark.rare  # learns a folder; the next test learns two
def test_a_folder_called_background_is_no_class(tmp_path: Path) -> None:
    videos = write_classes(tmp_path / "videos", "wave", "clap")
    (videos / "background").mkdir()
    make_video(videos / "background" / "room.avi", frames=40)
    task = read_task(str(videos), TaskOptions(out=tmp_path / "run", changes=QUICK))
    assert task.recipe.stages.classes == (("clap", "wave"),)
    assert task.recipe.data.background == str((videos / "background").resolve())
    assert any("background is not a class" in note for note in task.notes)
    result = train(videos, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    more = write_classes(tmp_path / "more", "jump")
    again = train(more, "--run", tmp_path / "run", sets=())
    assert again.exit_code == 0, again.output
    kept = read_resolved(tmp_path / "run" / "recipe.toml").data.background
    assert kept == task.recipe.data.background  # what was said of it still holds
    shutil.rmtree(videos)
    last = train(write_classes(tmp_path / "last", "hop"), "--run", tmp_path / "run", sets=())
    assert last.exit_code == 0, last.output
    assert "are gone: from now on events are learnt without them" in " ".join(last.stderr.split())
    assert read_resolved(tmp_path / "run" / "recipe.toml").data.background == ""


@pytest.mark.parametrize("place", ["background", "train/background"])
def test_background_beside_parted_classes_is_no_class_either(place: str, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    for split in ("train", "test"):
        write_classes(videos / split, "wave", "clap")
    (videos / place).mkdir()
    make_video(videos / place / "room.avi", frames=40)
    (videos / "test" / "background").mkdir()
    task = read_task(str(videos), TaskOptions(out=tmp_path / "run", changes=QUICK))
    assert task.recipe.stages.classes == (("clap", "wave"),)
    assert task.recipe.data.background == str((videos / place).resolve())
    assert {video.label for video in task.videos} == {"clap", "wave"}
    assert any("is not a class" in note for note in task.notes)
    assert any("background is not tested here" in note for note in task.notes)
    result = train(videos, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    (videos / ("train/background" if place == "background" else "background")).mkdir()
    with pytest.raises(DataError, match="are both background; move their videos into one"):
        read_task(str(videos), TaskOptions(out=tmp_path / "run", changes=QUICK))


def test_new_classes_are_added_without_the_old_videos(run: Path, tmp_path: Path) -> None:
    more = write_classes(tmp_path / "more", "jump", "wave")
    before = (run / "stage-1" / "model.safetensors").read_bytes()
    result = train(more, "--run", run, sets=())
    assert result.exit_code == 0, result.output
    assert "note: already learnt, so ignored: 'wave'" in result.stderr
    assert read_record(run, 2).stages == (("clap", "wave"), ("jump",))
    assert (run / "stage-1" / "model.safetensors").read_bytes() == before
    assert read_resolved(run / "recipe.toml").stages.classes == (("clap", "wave"), ("jump",))
    assert [label for _, label, _ in rows(run)].count("wave") == 5  # as they were
    assert [split for _, label, split in rows(run) if label == "jump"].count("test") == 1
    again = train(more, "--run", run, sets=())
    assert (again.exit_code, again.output.count("\n")) == (2, 1)
    assert "has no class that is new to" in again.stderr


def test_a_stage_that_was_stopped_is_taken_up_by_the_same_command(run: Path, tmp_path: Path) -> None:
    more = write_classes(tmp_path / "more", "jump")
    task = read_task(str(more), TaskOptions(run=run))
    task.write_list()
    write_recipe(task.recipe, run / "recipe.toml")  # and then it was killed
    again = read_task(str(more), TaskOptions(run=run))
    assert list(again.videos) == list(task.videos)
    assert again.recipe == task.recipe


def test_a_damaged_video_of_a_folder_is_skipped_by_the_path_that_the_message_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    videos = write_classes(tmp_path / "videos", "wave", "clap")
    (videos / "wave" / "mon_1.avi").write_bytes(b"no video")
    (tmp_path / "skip.txt").write_text("videos/wave/mon_1.avi\n")
    assert "wave/mon_1.avi can't be opened" in train("videos").stderr
    skipped = (*QUICK, "data.skip=skip.txt")
    result = train("videos", sets=skipped)
    assert result.exit_code == 0, result.output
    assert f"skip list {tmp_path}/skip.txt: 1 left out" in result.stderr
    assert train("videos", "--resume", sets=skipped).exit_code == 0
    more = write_classes(tmp_path / "more", "jump")
    (more / "jump" / "mon_2.avi").write_bytes(b"no video")
    assert "jump/mon_2.avi can't be opened" in train("more", "--run", "runs/videos", sets=()).stderr
    (tmp_path / "skip.txt").write_text(f"videos/wave/mon_1.avi\n{more}/jump/mon_2.avi\n")
    assert train("more", "--run", "runs/videos", sets=()).exit_code == 0  # the run knows its list


@pytest.mark.parametrize("lost", ["recipe.toml", "videos.csv"])
def test_a_run_whose_list_or_recipe_is_lost_is_not_begun_anew(lost: str, run: Path, tmp_path: Path) -> None:
    """Another split could test what was trained on."""
    (run / lost).unlink()
    result = train(write_classes(tmp_path / "now", "wave", "clap"), "--out", run, "--resume", sets=())
    assert result.exit_code == 2
    assert f"has stages but no {lost}, with which they were learnt; restore it from a copy" in result.stderr
    assert not (run / lost).exists()


def test_a_run_that_was_carried_away_goes_on_with_its_own_recipe(run: Path, tmp_path: Path) -> None:
    """Its recipe names the list where it was once; `--data` names the folder that the videos are in now."""
    file = run / "recipe.toml"
    begun = read_resolved(file)
    write_recipe(replace(begun, data=replace(begun.data, root="runs/elsewhere")), file)
    task = read_task(str(file), TaskOptions(out=run, resume=True))
    assert (task.recipe.data.root, task.recipe.stages) == (str(run), begun.stages)
    videos = write_classes(tmp_path / "now", "wave", "clap")
    moved = read_task(str(file), TaskOptions(out=tmp_path / "second", data=str(videos)))
    assert moved.recipe.data.root == str(tmp_path / "second")
    assert {video.path.parents[1] for video in moved.videos} == {videos.resolve()}
    result = train(file, "--out", run, "--resume", "--data", videos, sets=())
    assert result.exit_code == 0, result.output
    assert {str(video.path.parents[1]) for video in listed_videos(run)} == {str(videos.resolve())}


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    videos = write_classes(tmp_path / "videos", "wave", "clap")
    result = train(videos, "--out", tmp_path / "run", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "0 of 8 for train are missing" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["videos"]


def test_a_backbone_that_can_not_be_had_is_one_line_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    videos = write_classes(tmp_path / "videos", "wave")
    result = train(videos, "--out", tmp_path / "runs" / "run", sets=("backbone.source=nobody/nothing",))
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: [backbone] source 'nobody/nothing' can't be loaded (")
    assert result.stderr.endswith("copy that folder here and add `--set backbone.source=nothing`.\n")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_finished_run_and_its_list_are_not_written_over(run: Path, tmp_path: Path) -> None:
    videos, before = write_classes(tmp_path / "videos", "jump"), (run / "videos.csv").read_bytes()
    result = train(videos, "--out", run)
    assert "holds a run with 1 finished stage; continue with --resume" in result.stderr
    assert (run / "videos.csv").read_bytes() == before


def test_what_does_not_go_together_is_told(run: Path, tmp_path: Path) -> None:
    videos = write_classes(tmp_path / "videos", "jump")

    def refused(name: Path | str, kind: type[Exception], said: str, asked: TaskOptions) -> None:
        with pytest.raises(kind, match=said):
            read_task(str(name), asked)

    refused(videos, RecipeError, "is a folder of videos, not a recipe; leave --data out", TaskOptions(data="x"))
    refused(
        videos,
        RecipeError,
        "already determines the folder; remove --data and --out",
        TaskOptions(run=run, out=tmp_path),
    )
    refused(
        "motions",
        RecipeError,
        "needs a folder of videos to learn from, and motions is not one; name one",
        TaskOptions(run=run),
    )
    refused(videos, CheckpointError, "is not a run: it has no recipe.toml", TaskOptions(run=tmp_path))
    refused(videos, RecipeError, "was started with another recipe", TaskOptions(run=run, changes=("seed=9",)))
    refused(write_classes(tmp_path / "old", "wave"), DataError, "which knows 'clap', 'wave'; add", TaskOptions(run=run))
    shutil.rmtree(run / "stage-1")
    refused(
        videos,
        CheckpointError,
        "has no intact stage to continue from: .* has no finished stage; restore",
        TaskOptions(run=run),
    )


def test_stages_that_are_yet_to_be_learnt_come_first(run: Path, tmp_path: Path) -> None:
    text = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(text.replace('"wave",\n    ],', '"wave",\n    ],\n    ["run"],'))
    with pytest.raises(RecipeError, match="has learnt 1 of 2 stages; finish it first, with --resume"):
        read_task(str(write_classes(tmp_path / "more", "jump")), TaskOptions(run=run))


def test_one_video_is_no_folder_of_classes(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4")
    with pytest.raises(RecipeError, match=r"a\.mp4 is a video; give the folder that holds a folder of videos for each"):
        read_task(str(video), TaskOptions(out=tmp_path / "run", changes=QUICK))
