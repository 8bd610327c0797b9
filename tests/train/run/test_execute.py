"""A recipe carried out: what is on disk after each stage, what is said, and how each stage's trainer is set up."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from stpr.runtime.contract.errors import CheckpointError, DataError, RecipeError
from stpr.train.learning.distributed import ALONE
from stpr.train.model.backbone import TINY_FOLDER
from stpr.train.model.stpr import StPR
from stpr.train.run import protocol
from stpr.train.run.checkpoint import read_record
from stpr.train.run.execute import execute
from stpr.train.run.folder import LEARNT, SNAPSHOT, finished_stages, stage_folder
from stpr.train.run.learnt import read_learnt
from stpr.train.run.metrics import read_metrics
from stpr.train.run.prepare import Request, prepare
from stpr.train.run.progress import ShownProgress
from stpr.train.run.stage import learn_stage
from stpr.train.run.trainers import Trainers
from stpr.train.settings.automatic import has_auto
from stpr.train.settings.load import read_resolved
from tests.factories import make_video
from tests.train.videos import recipe_of, write_videos


class Told(ShownProgress):
    """Notes the sentences."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.said: list[str] = []

    def note(self, sentence: str) -> None:
        self.said.append(sentence)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_videos(tmp_path_factory.mktemp("work") / "set")


def test_it_stops_where_it_is_told_and_goes_on_to_the_end(root: Path, tmp_path: Path) -> None:
    recipe, out, told = recipe_of(root), tmp_path / "run", Told()
    first = execute(recipe, Request(out=out, last=1), told)
    assert (len(first.seen), finished_stages(out)) == (1, [1])
    assert read_metrics(out) == first
    assert read_resolved(out / "recipe.toml") == recipe
    whole = execute(recipe, Request(out=out, resume=True), told)
    assert (len(whole.seen), finished_stages(out)) == (2, [1, 2])
    assert whole.seen[0] == first.seen[0]
    assert not (out / SNAPSHOT).exists()
    assert told.said == []
    assert execute(recipe, Request(out=out, resume=True), told) == whole
    assert told.said == ["finished before"]


def test_what_follows_the_backbone_is_said_and_stands_in_the_recipe(root: Path, tmp_path: Path) -> None:
    given = {"backbone": {"projection": "auto"}, "expert": {"width": "auto"}, "adapter": {"place": "auto"}}
    recipe, out, told = recipe_of(root, class_vectors={"kind": "auto"}, **given), tmp_path / "run", Told()
    execute(recipe, Request(out=out, last=1), told)
    assert [line.partition(":")[0] for line in told.said] == [
        'adapter.place = "blocks"',
        "backbone.projection = 0",
        'class_vectors.kind = "prototypes"',
        "expert.width = 0",
    ]
    begun = read_resolved(out / "recipe.toml")
    assert not has_auto(begun)
    assert begun == msgspec.structs.replace(
        recipe,
        adapter=msgspec.structs.replace(recipe.adapter, place="blocks"),
        backbone=msgspec.structs.replace(recipe.backbone, projection=0),
        class_vectors=msgspec.structs.replace(recipe.class_vectors, kind="prototypes"),
        expert=msgspec.structs.replace(recipe.expert, width=0),
    )
    assert execute(recipe, Request(out=out, resume=True), told).final >= 0  # "auto" still means the same


def test_what_the_cache_did_and_what_was_left_out_is_said(root: Path, tmp_path: Path) -> None:
    (tmp_path / "skip.txt").write_text("train/jump/train0.avi\n", encoding="utf-8")
    recipe, told = recipe_of(root, data={"skip": str(tmp_path / "skip.txt")}), Told()
    metrics = execute(recipe, Request(out=tmp_path / "run", cache=tmp_path / "cache"), told)
    assert told.said == [
        f"skip list {tmp_path / 'skip.txt'}: 1 left out",
        f"cache: 0 clips were in {tmp_path / 'cache'}, 9 were added",
    ]
    assert (metrics.environment["skipped"], metrics.environment["cache"]) == ("1", str(tmp_path / "cache"))


def test_a_cache_for_tuned_blocks_is_refused_before_anything_is_written(root: Path, tmp_path: Path) -> None:
    recipe = recipe_of(root, adapter={"place": "blocks"})
    with pytest.raises(RecipeError, match=r"--cache stores frozen features, .*; leave --cache out or set place"):
        execute(recipe, Request(out=tmp_path / "run", cache=tmp_path / "cache"), Told())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_can_not_be_written_is_told(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RecipeError, match=r"--out .*file/run can't be written \(.*\); choose another folder"):
        execute(recipe_of(root), Request(out=tmp_path / "file" / "run"), Told())


@pytest.mark.parametrize(("method", "epochs"), [("stpr", (2, 1)), ("joint", (2, 2))])
def test_each_stage_has_a_seed_and_its_epochs(root: Path, tmp_path: Path, method: str, epochs: tuple[int, int]) -> None:
    recipe = msgspec.structs.replace(recipe_of(root), method=method, seed=7)
    told = Told()
    prepared = prepare(recipe, Request(out=tmp_path / "run"), told, ALONE)
    assert prepared is not None
    trainers = Trainers(prepared, tmp_path / "run", told)
    made = [trainers.of(stage) for stage in prepared.plan.stages]
    assert [(one.seed, one.epochs) for one in made] == [(7001, epochs[0]), (7002, epochs[1])]
    drawn = torch.rand(3)
    trainers.of(prepared.plan.stages[1])
    assert torch.equal(torch.rand(3), drawn)  # random numbers begin with the stage
    fingerprints = {one.snapshots.fingerprint for one in made if one.snapshots}
    assert len(fingerprints) == 2
    assert trainers.lap() >= 0


def test_a_run_that_was_carried_elsewhere_goes_on_there(root: Path, tmp_path: Path) -> None:
    recipe, told = recipe_of(root), Told()
    execute(recipe, Request(out=tmp_path / "here", last=1), told)
    for part, place in ((root, "videos"), (TINY_FOLDER, "network"), (tmp_path / "here", "there")):
        shutil.copytree(part, tmp_path / place)
    moved = recipe_of(
        tmp_path / "videos", backbone={"source": str(tmp_path / "network")}, sampling={"draws": 2, "workers": 1}
    )
    whole = execute(moved, Request(out=tmp_path / "there", resume=True), told)
    assert (len(whole.seen), told.said) == (2, [])
    assert read_resolved(tmp_path / "there" / "recipe.toml") == moved


def test_test_clips_that_changed_between_stages_are_said(root: Path, tmp_path: Path) -> None:
    videos = shutil.copytree(root, tmp_path / "videos")
    recipe, told = recipe_of(videos), Told()
    execute(recipe, Request(out=tmp_path / "run", last=1), told)
    make_video(videos / "test" / "jump" / "more.avi", frames=12)
    whole = execute(recipe, Request(out=tmp_path / "run", resume=True), told)
    (said,) = told.said
    assert said.startswith("The test clips of stage 1 are not those of stage 1's test (2 then, 3 now)")
    assert said in whole.notes


def test_a_learnt_classs_training_clips_are_never_tested_on(root: Path, tmp_path: Path) -> None:
    videos = shutil.copytree(root, tmp_path / "videos")
    recipe, told = recipe_of(videos), Told()
    execute(recipe, Request(out=tmp_path / "run", last=1), told)
    shutil.copy(videos / "train" / "jump" / "train0.avi", videos / "test" / "jump" / "other.avi")
    with pytest.raises(DataError, match=r"other\.avi is for testing and .*train0\.avi for training"):
        execute(recipe, Request(out=tmp_path / "run", resume=True), told)


@pytest.mark.parametrize("split", ["train", "test"])
def test_they_are_known_when_their_files_are_gone_and_older_stages_too(root: Path, tmp_path: Path, split: str) -> None:
    videos = shutil.copytree(root, tmp_path / "videos")
    recipe, run, told = recipe_of(videos), tmp_path / "run", Told()
    execute(recipe, Request(out=run, last=1), told)
    jump = videos / "train" / "jump"
    other = videos / split / "wave" / "other.avi" if split == "train" else videos / "test" / "jump" / "other.avi"
    (jump / "train0.avi").rename(other)
    shutil.rmtree(jump)
    said = f"{other} is a {split} clip of '{other.parent.name}', but its content was learnt as 'jump' in an earlier"
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        execute(recipe, Request(out=run, resume=True), told)
    assert str(jump / "train0.avi") in caught.value.message
    other.unlink()
    execute(recipe, Request(out=run, resume=True), told)
    assert told.said == []
    shutil.rmtree(stage_folder(run, 1))
    assert {clip.label for clip in read_learnt(run, read_record(run, 2))[0].clips} == {"jump", "wave"}


def test_a_run_without_their_digests_goes_on_with_a_word(root: Path, tmp_path: Path) -> None:
    recipe, run, told = recipe_of(root), tmp_path / "run", Told()
    execute(recipe, Request(out=run, last=1), told)
    (stage_folder(run, 1) / LEARNT).write_text("path,label\na,b\n")
    with pytest.raises(
        CheckpointError, match=r"learnt\.csv can't be read .* or delete it to continue without its check"
    ):
        execute(recipe, Request(out=run, resume=True), told)
    (stage_folder(run, 1) / LEARNT).unlink()
    execute(recipe, Request(out=run, resume=True), told)
    (said,) = told.said
    assert "learnt.csv has no training clips of 'jump': a test clip that was one of them would not be noticed" in said


def test_a_copy_within_a_class_is_said_and_noted(root: Path, tmp_path: Path) -> None:
    videos = shutil.copytree(root, tmp_path / "videos")
    shutil.copy(videos / "train" / "jump" / "train0.avi", videos / "train" / "jump" / "other.avi")
    told = Told()
    found = execute(recipe_of(videos), Request(out=tmp_path / "run", last=1), told)
    (said,) = told.said
    assert said.endswith(
        "train0.avi has the same content as "
        + str(videos / "train" / "jump" / "other.avi")
        + ": a copy counts as a clip of its own; remove it"
    )
    assert said in found.notes


def test_a_whole_recording_among_clips_is_said(root: Path, tmp_path: Path) -> None:
    videos, told = shutil.copytree(root, tmp_path / "videos"), Told()
    make_video(videos / "train" / "jump" / "long.avi", frames=300)
    execute(recipe_of(videos), Request(out=tmp_path / "run", last=1), told)
    said = told.said[0]
    assert said.startswith(f"{videos}/train/jump/long.avi lasts ")
    assert said.endswith("(1 such videos): if it is a whole recording, cut its action out")


def test_statistics_that_are_no_numbers_stop_before_anything_is_saved(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(model: StPR, *rest: Any) -> Any:
        learnt = learn_stage(model, *rest)
        model.head.combiner.get_buffer("anchors").fill_(torch.nan)
        return learnt

    monkeypatch.setattr(protocol, "learn_stage", lose)
    with pytest.raises(
        RecipeError, match=r"training stage 1 produced NaN or infinity in the anchors \(head\.anchors\)"
    ):
        execute(recipe_of(root), Request(out=tmp_path / "run"), Told())
    assert not (tmp_path / "run" / "stage-1").exists()


def test_all_damaged_videos_are_named_at_once(root: Path, tmp_path: Path) -> None:
    videos = shutil.copytree(root, tmp_path / "videos")
    for name in ("train0", "train2"):
        (videos / "train" / "jump" / f"{name}.avi").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"2 videos can't be used: the video .*train0\.avi .*train2\.avi .*; repair"):
        execute(recipe_of(videos), Request(out=tmp_path / "run"), Told())
    shutil.rmtree(videos)
    shutil.copytree(root, videos)
    execute(recipe_of(videos), Request(out=tmp_path / "run", last=1), Told())
    for name in ("test0", "test1"):
        (videos / "test" / "wave" / f"{name}.avi").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"2 videos can't be used: the video .*test0\.avi .*test1\.avi .*; repair"):
        execute(recipe_of(videos), Request(out=tmp_path / "run", resume=True), Told())


def test_a_damaged_test_video_is_named_with_those_for_training_or_else_before_training(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learn(*_: Any) -> Any:
        raise AssertionError("it was learnt first")

    monkeypatch.setattr(protocol, "learn_stage", learn)
    videos = shutil.copytree(root, tmp_path / "videos")
    (videos / "test" / "jump" / "test0.avi").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"the video .*test0\.avi can't be opened"):
        execute(recipe_of(videos), Request(out=tmp_path / "run"), Told())
    (videos / "train" / "wave" / "train1.avi").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"2 videos can't be used: the video .*train1\.avi is empty, the video .*test0\.avi"
    ):
        execute(recipe_of(videos), Request(out=tmp_path / "run"), Told())
