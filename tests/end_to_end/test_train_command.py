"""`stpr-train` as a user runs it, on six clips a class, and as a user breaks it."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from stpr.runtime.motions import FPS
from stpr.train.cli import main
from stpr.train.data.clips import Clip
from stpr.train.data.source import read_videos
from stpr.train.datasets.dataset import Listed
from stpr.train.datasets.motions_writer import LONGEST, SHORTEST
from stpr.train.learning.inputs import PixelClips
from stpr.train.run import prepare
from stpr.train.run.progress import ShownProgress
from tests.factories import make_video
from tests.train.networks import write_clip

QUICK = {
    "data.train_per_class": "6",
    "data.test_per_class": "3",
    "sampling.frames": "4",
    "sampling.draws": "2",
    "expert.layers": "1",
    "expert.mlp_ratio": "1",
    "backbone.projection": "0",
    "optimizer.batch": "8",
    "optimizer.epochs_first": "2",
    "optimizer.epochs_later": "2",
}
FILES = {"model.safetensors", "stage.json", "predictions.csv", "learnt.csv"}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


def command(work: Path, out: str | Path, *extra: str, report: bool = False, **changes: str) -> Result:
    """Two stages on the motions of `work`, unless told otherwise; pictures of the report only where they matter."""
    settings = {**QUICK, **{key.replace("__", "."): value for key, value in changes.items()}}
    sets = itertools.chain.from_iterable(("--set", f"{key}={value}") for key, value in settings.items())
    arguments = ["motions", "--data", str(work / "motions"), "--out", str(work / out), "--stages", "2", *extra, *sets]
    with pytest.MonkeyPatch.context() as patch:
        if not report:  # drawing it takes longer than learning
            patch.setattr("stpr.train.report.run.write_report", lambda folder, _: folder / "report")
        return CliRunner().invoke(main, arguments)


def done(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(result: Result, *said: str, before: Sequence[str] = ()) -> None:
    """Exit code 2 and one line; only plain lines of progress may stand before it."""
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    *earlier, last = result.stderr.splitlines()
    assert last.startswith("Error: ")
    assert all(line.startswith(tuple(before)) for line in earlier), earlier
    assert result.stdout == ""
    for part in said:
        assert part in last


@pytest.fixture(scope="module")
def whole(work: Path) -> Path:
    """A run of two stages in one go."""
    said = done(command(work, "whole", report=True))
    assert "on all 4 classes after stage 2" in said
    assert f"next:   stpr-export --stage 2 --run {work / 'whole'}" in said
    return work / "whole"


@pytest.fixture(scope="module")
def begun(work: Path) -> Path:
    """A run of one stage."""
    assert "on all 2 classes after stage 1" in done(command(work, "begun", "--stages", "1"))
    return work / "begun"


def metrics(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "metrics.json").read_text(encoding="utf-8")))


def predictions(run: Path, stage: int) -> list[dict[str, str]]:
    with (run / f"stage-{stage}" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def same_tensors(first: Path, second: Path, stage: int) -> bool:
    one, two = (load_file(run / f"stage-{stage}" / "model.safetensors") for run in (first, second))
    return set(one) == set(two) and all(torch.equal(value, two[name]) for name, value in one.items())


def test_the_run_folder_holds_what_is_promised(whole: Path) -> None:
    files = {"recipe.toml", "stage-1", "stage-2", "metrics.json", "report", "tensorboard"}
    assert {path.name for path in whole.iterdir()} == files
    for stage in (1, 2):
        assert {path.name for path in (whole / f"stage-{stage}").iterdir()} == FILES
    assert (whole / "report" / "index.html").is_file()
    promised = {"classes", "stages", "accuracy", "seen", "final", "average_incremental", "backward_forgetting"}
    assert promised | {"seed", "method", "seconds", "environment"} <= set(metrics(whole))


def test_figures_are_those_of_the_predictions(whole: Path) -> None:
    found = metrics(whole)
    assert found["stages"] == [["slide_right", "slide_left"], ["turn_clockwise", "turn_counterclockwise"]]
    assert found["classes"] == [name for stage in found["stages"] for name in stage]
    for number in (1, 2):
        rows = predictions(whole, number)
        assert list(rows[0]) == ["path", "label", "predicted", "score"]
        assert len(rows) == 3 * 2 * number
        assert all(Path(row["path"]).is_absolute() and Path(row["path"]).is_file() for row in rows)
        assert all(Path(row["path"]).parent.name == row["label"] for row in rows)
        right = {row["path"]: row["label"] == row["predicted"] for row in rows}
        assert found["seen"][number - 1] == pytest.approx(np.mean(list(right.values())))
        for earlier, classes in enumerate(found["stages"][:number]):
            mine = [right[row["path"]] for row in rows if row["label"] in classes]
            assert found["accuracy"][number - 1][earlier] == pytest.approx(np.mean(mine))
    assert found["final"] == found["seen"][-1]
    assert found["average_incremental"] == pytest.approx(np.mean(found["seen"]))
    assert found["backward_forgetting"] == pytest.approx(found["accuracy"][0][0] - found["accuracy"][1][0])
    counted = np.zeros((4, 4), int)
    for row in predictions(whole, 2):
        counted[found["classes"].index(row["label"]), found["classes"].index(row["predicted"])] += 1
    assert found["confusion"] == counted.tolist()
    assert [len(curves) for curves in found["curves"]] == [2, 2]


def test_the_record_tells_what_a_device_needs(whole: Path) -> None:
    record = json.loads((whole / "stage-2" / "stage.json").read_text(encoding="utf-8"))
    assert record["stages"] == metrics(whole)["stages"]
    assert record["clip"]["frames"] == 4
    assert SHORTEST <= record["clip"]["span_seconds"] * FPS <= LONGEST
    assert record["preprocess"]["height"] == 48


def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(work: Path, whole: Path, begun: Path) -> None:
    run = Path(shutil.copytree(begun, work / "resumed"))
    first = (run / "stage-1" / "model.safetensors").stat().st_mtime_ns
    done(command(work, "resumed", "--resume"))
    assert (run / "stage-1" / "model.safetensors").stat().st_mtime_ns == first
    for stage in (1, 2):
        assert same_tensors(run, whole, stage)
        assert predictions(run, stage) == predictions(whole, stage)
    one, two = metrics(run), metrics(whole)
    assert {key: value for key, value in one.items() if key != "seconds"} == {
        key: value for key, value in two.items() if key != "seconds"
    }


def test_resuming_a_finished_run_changes_nothing(work: Path, whole: Path) -> None:
    run = Path(shutil.copytree(whole, work / "finished"))
    before = metrics(run)
    done(command(work, "finished", "--resume"))
    assert metrics(run) == before


def test_lost_figures_are_made_again_also_where_no_stage_is_left(work: Path, begun: Path) -> None:
    run = Path(shutil.copytree(begun, work / "figureless"))
    (run / "metrics.json").unlink()
    assert "metrics.json was lost and was rebuilt" in done(command(work, "figureless", "--resume", "--stages", "1"))
    assert (run / "metrics.json").is_file()
    assert same_tensors(run, begun, 1)


def test_finetuning_stands_beside_in_the_report(work: Path, begun: Path) -> None:
    done(command(work, "plain", "--beside", str(begun), report=True, method="finetune"))
    assert "begun" in (work / "plain" / "report" / "report.md").read_text(encoding="utf-8")
    assert not any("experts.1" in name for name in load_file(work / "plain" / "stage-2" / "model.safetensors"))


@pytest.mark.rare
@pytest.mark.usefixtures("whole")
def test_joint_training_says_that_it_keeps_videos_and_is_resumed_to_the_bit(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = done(command(work, "joint", method="joint"))
    assert "retrains on them each time: an upper bound, not a competitor.\n" in said
    done(command(work, "joint resumed", "--stages", "1", method="joint"))
    shutil.copytree(work / "joint resumed", work / "joint alone")
    done(command(work, "joint resumed", "--resume", method="joint"))
    assert same_tensors(work / "joint", work / "joint resumed", 2)
    assert predictions(work / "joint", 2) == predictions(work / "joint resumed", 2)

    def without_a_class(*given: Any) -> Listed:
        listed = read_videos(*given)
        kept = [video for video in listed.videos if (video.label, video.split) != ("slide_left", "train")]
        return replace(listed, videos=kept)

    monkeypatch.setattr(prepare, "read_videos", without_a_class)
    said = "the class 'slide_left' of stage 1 has no train video; add some"
    refused(command(work, "joint alone", "--resume", method="joint"), said, before=["note: joint keeps", "stage 1"])


@pytest.mark.rare
@pytest.mark.usefixtures("whole")
def test_adapters_in_the_blocks_read_pixels_anew_each_epoch(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    views = PixelClips.views

    def watch(self: PixelClips, video: Path, *, draws: int, seed: int) -> Clip:
        if draws:
            drawn.append(seed)
        clip: Clip = views(self, video, draws=draws, seed=seed)
        return clip

    monkeypatch.setattr(PixelClips, "views", watch)
    done(command(work, "blocks", adapter__place="blocks", statistics__draws="false"))
    # Every clip but the one of each class that is held out, once in each epoch of each stage.
    assert drawn == [*[1] * 10, *[2] * 10, *[1] * 10, *[2] * 10]
    first, second = (load_file(work / "blocks" / f"stage-{stage}" / "model.safetensors") for stage in (1, 2))
    adapters = [name for name in first if ".adapter." in name]
    assert len(adapters) == 3 * 4
    assert any(not torch.equal(first[name], second[name]) for name in adapters)
    curves = metrics(work / "blocks")["curves"]
    assert "preservation" not in curves[0][0]
    assert curves[1][1]["preservation"] > 0.0
    # The same in two goes: exact although the encoder changes from stage to stage.
    done(command(work, "halves", "--stages", "1", adapter__place="blocks", statistics__draws="false"))
    done(command(work, "halves", "--resume", adapter__place="blocks", statistics__draws="false"))
    assert same_tensors(work / "halves", work / "blocks", 1)
    assert same_tensors(work / "halves", work / "blocks", 2)


@pytest.mark.usefixtures("whole")
def test_a_clip_with_text_learns_by_the_letter(
    work: Path,
) -> None:
    place = write_clip(work / "clip")
    letter: dict[str, Any] = {
        "backbone__source": str(place),
        "adapter__place": "blocks",
        "statistics__draws": "false",
        "class_vectors__kind": "text",
    }
    done(command(work, "letter", "--stages", "1", **letter, router__kind="raw", fusion__evidence="0"))
    assert load_file(work / "letter" / "stage-1" / "model.safetensors")["head.class_vectors"].shape == (2, 24)


def test_an_existing_run_is_not_written_over(work: Path, begun: Path) -> None:
    before = (begun / "metrics.json").read_bytes()
    refused(
        command(work, "begun"), "holds a run with 1 finished stage; continue with --resume or choose another --out."
    )
    assert (begun / "metrics.json").read_bytes() == before


@pytest.mark.usefixtures("begun")
def test_resuming_with_another_recipe_names_what_differs(
    work: Path,
) -> None:
    result = command(work, "begun", "--resume", optimizer__rate="0.5", seed="9")
    refused(result, "was started with another recipe (seed, optimizer differ); keep its settings, or train another run")


def test_resuming_from_a_damaged_checkpoint(work: Path, begun: Path) -> None:
    run = Path(shutil.copytree(begun, work / "damaged"))
    content = bytearray((run / "stage-1" / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (run / "stage-1" / "model.safetensors").write_bytes(content)
    refused(command(work, "damaged", "--resume"), "is not the file that was saved")
    (run / "metrics.json").write_text("{")
    refused(command(work, "damaged", "--resume"), "metrics.json can't be read")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backbone__source": "/no/such/clip"}, "there is no folder /no/such/clip; name one with a config.json"),
        ({"backbone__projection": "100"}, "projection: 100 is wider than the 64 features of tiny"),
        ({"expert__heads": "3"}, "heads: 3 heads can't divide 16 features equally"),
        ({"stages__classes": '[["grow"], ["grow"]]'}, "the class 'grow' is in stage 1 and in stage 2; keep one"),
        ({"stages__classes": '[["slide_rigth"]]'}, "did you mean 'slide_right'?"),
        ({"optimizer__batch": "0"}, "[optimizer] batch: must be an integer >= 1, not 0"),
        ({"optimiser__rate": "1"}, "has no key 'optimiser' (did you mean 'optimizer'?)"),
        ({"data__kind": "folder"}, "[data] has no key 'train_per_class'; it knows kind, root"),
        ({"data__train_per_class": "7"}, "was made with train_per_class 6"),
    ],
)
@pytest.mark.usefixtures("whole")
def test_what_can_not_be_is_one_line_before_any_learning(work: Path, changes: dict[str, Any], said: str) -> None:
    refused(command(work, "never", **changes), said)
    assert not (work / "never").exists()


@pytest.mark.parametrize("source", ["tiny", "clip"])
@pytest.mark.usefixtures("whole")
def test_text_features_that_are_not_there_or_do_not_fit(work: Path, tmp_path: Path, source: str) -> None:
    place = str(write_clip(tmp_path)) if source == "clip" else source
    result = command(
        work, tmp_path / "run", backbone__source=place, backbone__projection="8", class_vectors__kind="text"
    )
    said = "text features are 24 wide and frame features 8" if source == "clip" else "tiny has no text tower"
    refused(
        result,
        said,
        'use kind = "prototypes"',
        before=["stage 1 train: encoding clips", "stage 1 test: encoding clips"],
    )


@pytest.mark.usefixtures("whole")
def test_learning_that_runs_away_is_told(
    work: Path,
) -> None:
    result = command(work, "away", optimizer__rate="1e30", optimizer__epochs_first="9")
    refused(result, "diverged in epoch", "lower [optimizer] rate", before=["stage 1"])
    assert {path.name for path in (work / "away").iterdir()} == {"recipe.toml", "tensorboard"}


@pytest.mark.usefixtures("whole")
def test_an_out_that_is_a_file(
    work: Path,
) -> None:
    (work / "taken").write_text("")
    refused(command(work, "taken"), "taken can't be written", "choose another folder")


def test_a_run_to_set_beside_that_is_none_is_told_first(work: Path, tmp_path: Path) -> None:
    refused(command(work, "never", "--beside", str(tmp_path)), "has no metrics.json")


def make_folder(root: Path) -> Path:
    for split, label in itertools.product(("train", "test"), ("jump", "wave")):
        (root / split / label).mkdir(parents=True)
        for index in range(2):
            make_video(root / split / label / f"{split}{index}.avi", frames=12)
    recipe = root.parent / "own.toml"
    recipe.write_text(
        f'name = "own"\n[data]\nkind = "folder"\nroot = "{root}"\n[stages]\nsizes = [1, 1]\n'
        '[backbone]\nsource = "tiny"\nprojection = 0\n'
        '[class_vectors]\nkind = "prototypes"\n[adapter]\nplace = "feature"\n[sampling]\nframes = 4\n'
        "[expert]\nlayers = 1\nwidth = 0\n[optimizer]\nepochs_first = 1\nepochs_later = 1\n"
    )
    return recipe


def own(recipe: Path, *extra: str) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stpr.train.report.run.write_report", lambda folder, _: folder / "report")
        return CliRunner().invoke(main, [str(recipe), "--out", str(recipe.parent / "run"), *extra])


def test_a_folder_of_videos_is_enough(tmp_path: Path) -> None:
    recipe = make_folder(tmp_path / "set")
    done(own(recipe))
    assert sorted(metrics(tmp_path / "run")["classes"]) == ["jump", "wave"]


def test_resuming_with_other_classes_in_the_folder(tmp_path: Path) -> None:
    recipe = make_folder(tmp_path / "set")
    done(own(recipe, "--stages", "1"))
    learnt = metrics(tmp_path / "run")["classes"][0]
    for split in ("train", "test"):
        (tmp_path / "set" / split / learnt).rename(tmp_path / "set" / split / f"{learnt}ing")
    said = (
        "the run was started with 2 classes, but with this data set there are 3: stages drawn by [stages] sizes can't"
    )
    refused(own(recipe, "--resume"), said, "list them as [stages] classes instead, the learnt ones first")


def test_an_empty_class_folder(tmp_path: Path) -> None:
    recipe = make_folder(tmp_path / "set")
    (tmp_path / "set" / "train" / "clap").mkdir()
    refused(own(recipe), "the class folder", "clap is empty; add videos or remove the folder")
    assert not (tmp_path / "run").exists()


def test_a_truncated_video(tmp_path: Path) -> None:
    recipe = make_folder(tmp_path / "set")
    video = tmp_path / "set" / "train" / "wave" / "train1.avi"
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    refused(own(recipe), f"the video {video} ", "put it on the skip list ([data] skip)")
    assert not (tmp_path / "run").exists()


BLOCKS = ("--set", "adapter.place=blocks", "--set", "optimizer.epochs_later=2")


def test_a_video_that_breaks_in_the_middle_of_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, run = make_folder(tmp_path / "set"), tmp_path / "run"
    done(own(recipe, *BLOCKS, "--stages", "1"))
    (new,) = {"jump", "wave"} - set(metrics(run)["classes"])
    video = tmp_path / "set" / "train" / new / "train1.avi"
    intact = video.read_bytes()

    def breaks(self: ShownProgress, stage: int, number: int, total: int, terms: Any) -> None:
        assert (stage, number, total, bool(terms)) == (2, 1, 2, True)
        assert self.console
        video.write_bytes(intact[: len(intact) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(ShownProgress, "epoch", breaks)
        refused(own(recipe, *BLOCKS, "--resume"), f"the video {video} ", "repair it", "and continue with --resume")
    assert {path.name for path in run.iterdir()} == {"recipe.toml", "stage-1", "metrics.json", "tensorboard"}
    begun = shutil.copytree(run, tmp_path / "begun")

    video.write_bytes(intact)
    done(own(recipe, *BLOCKS, "--resume"))
    assert "skipped" not in metrics(run)["environment"]

    video.write_bytes(intact[: len(intact) // 2])
    (tmp_path / "set" / "skip.txt").write_text(f"# cut off\ntrain/{new}/train1.avi\n", encoding="utf-8")
    refused(own(recipe, *BLOCKS, "--out", str(begun), "--resume"), f"the video {video} ", before=["stage 2"])
    result = own(recipe, *BLOCKS, "--out", str(begun), "--resume", "--set", "data.skip=skip.txt")
    done(result)
    assert "skip list skip.txt: 1 left out" in result.stderr
    assert metrics(begun)["environment"]["skipped"] == "1"
    assert not same_tensors(run, begun, 2)  # it was learnt without the video


def test_a_skip_list_that_skips_nothing(tmp_path: Path) -> None:
    recipe = make_folder(tmp_path / "set")
    (tmp_path / "set" / "skip.txt").write_text("wave/train1.avi\n", encoding="utf-8")
    said = "skip.txt, line 1: 'wave/train1.avi' is not one of the videos (did you mean 'train/wave/train1.avi'?)"
    refused(own(recipe, "--set", "data.skip=skip.txt"), said)


def test_splits_that_overlap(tmp_path: Path) -> None:
    recipe, root = make_folder(tmp_path / "set"), tmp_path / "set"
    shutil.copy(root / "train" / "wave" / "train0.avi", root / "test" / "jump" / "other.avi")
    refused(own(recipe), "other.avi is for testing and", "train0.avi for training, but their contents are equal")
    assert not (tmp_path / "run").exists()


def test_features_from_a_cache_teach_the_same(tmp_path: Path) -> None:
    recipe, kept = make_folder(tmp_path / "set"), tmp_path / "kept"
    done(own(recipe))
    assert "cache" not in metrics(tmp_path / "run")["environment"]
    for name, said in (
        ("cold", f"cache: 0 clips were in {kept}, 8 were added"),
        ("warm", f"8 clips were in {kept}, 0"),
    ):
        result = own(recipe, "--out", str(tmp_path / name), "--cache", str(kept))
        done(result)
        assert said in result.stderr
        assert metrics(tmp_path / name)["environment"]["cache"] == str(kept)
        for stage in (1, 2):
            assert same_tensors(tmp_path / name, tmp_path / "run", stage)
    entry = next(kept.glob("*/*.safetensors"))
    entry.write_bytes(entry.read_bytes()[:100])
    result = own(recipe, "--out", str(tmp_path / "harmed"), "--cache", str(kept))
    refused(result, f"{entry} of the cache is damaged", "delete this file", before=["stage"])


def test_a_cache_for_features_that_are_not_frozen(tmp_path: Path) -> None:
    refused(
        own(make_folder(tmp_path / "set"), *BLOCKS, "--cache", str(tmp_path / "kept")), "--cache stores frozen features"
    )
    assert not (tmp_path / "kept").exists()


def test_stopping_by_hand_leaves_whole_stages_only(work: Path, begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Path(shutil.copytree(begun, work / "stopped"))
    before = metrics(run)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ShownProgress, "epoch", stop)
        result = command(work, "stopped", "--resume")
    assert result.exit_code == 1
    assert result.stderr.rstrip().endswith("Aborted!")
    assert "Traceback" not in result.stderr
    assert {path.name for path in run.iterdir()} == {"recipe.toml", "stage-1", "metrics.json", "tensorboard"}
    assert metrics(run) == before
    done(command(work, "stopped", "--resume"))
