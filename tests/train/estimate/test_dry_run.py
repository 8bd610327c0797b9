"""The dry run: everything is shown, what is missing is named, nothing is written, and the exit code tells."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stpr.train.cli import main
from stpr.train.estimate.cost import Rates
from stpr.train.estimate.dry_run import DryRun, dry_run
from stpr.train.report.dry_run_table import show_findings
from stpr.train.settings.load import load_recipe
from stpr.train.settings.recipe import Recipe
from tests.factories import make_video
from tests.train.datasets.test_benchmarks import KINETICS, TCD, VCLIMB, official

PAGE = Path(__file__).parents[3] / "tools/site/pages/paper.md"
PAPER = "openai/clip-vit-base-patch16"
QUICK = ("sampling.frames=3", "sampling.draws=1", "expert.layers=1", "optimizer.batch=4")


def call(*arguments: str, sets: tuple[str, ...] = QUICK) -> Result:
    changes = itertools.chain.from_iterable(("--set", change) for change in sets)
    return CliRunner().invoke(main, [*arguments, "--dry-run", *changes])


def ahead(recipe: Recipe, out: Path, **more: Any) -> DryRun:
    return dry_run(recipe, out=out, last=None, resume=False, **more)


def row(text: str, *cells: str) -> bool:
    """Whether a line of the table begins with these cells."""
    between = r"\s+".join(map(re.escape, cells))
    return re.search(rf"^\s*{between}\b", text, re.MULTILINE) is not None


def test_motions_not_yet_written_are_foretold_and_not_written(tmp_path: Path) -> None:
    result = call("motions", "--data", str(tmp_path / "motions"), "--out", str(tmp_path / "run"))
    assert result.exit_code == 0, result.output
    assert row(result.stdout, "1", "2", "200", "80", "slide_right, slide_left")
    assert row(result.stdout, "all", "10", "1,000", "400")
    assert f"1,400 are to be written first, into {tmp_path / 'motions'}" in result.stdout
    assert "tiny is here and loads" in result.stdout
    assert re.search(r"network about [\d.smindh ]+: 7,200 frames encoded, 32,400 clips learnt", result.stdout)
    assert "decoding unknown: 1,600 videos, and none is here to measure" in result.stdout
    assert "and the videos to be written" in result.stdout
    assert result.stdout.endswith("the run could start; nothing was learnt or written\n")
    assert list(tmp_path.iterdir()) == []


def folder(root: Path) -> Path:
    for name in ("train/wave", "train/clap", "test/wave", "test/clap"):
        (root / name).mkdir(parents=True)
        make_video(root / name / "a.mp4")
    return root


def recipe_file(root: Path, *lines: str) -> Path:
    file = root / "mine.toml"
    head = ['name = "mine"', 'stages = { classes = [["wave"], ["clap"]] }', 'class_vectors = { kind = "codes" }']
    adapter = 'adapter = { place = "feature" }'
    file.write_text("\n".join([*head, adapter, *(lines or ['backbone = { source = "tiny" }'])]) + "\n")
    return file


def test_videos_that_are_there_are_measured_and_found_damage_is_told(tmp_path: Path) -> None:
    data = folder(tmp_path / "videos")
    file = recipe_file(tmp_path, f'data = {{ kind = "folder", root = "{data}" }}', 'backbone = { source = "tiny" }')
    result = call(str(file), "--out", str(tmp_path / "run"))
    assert result.exit_code == 0, result.output
    assert "0 of 2 for train are missing" in result.stdout
    assert re.search(r"decoding about .*: 6 videos; .*; 2 of them only to measure their length", result.stdout)
    assert re.search(r"lists:    [0-9a-f]{64}  train/\*/\*, test/\*/\*", result.stdout)
    for video in data.rglob("*.mp4"):
        video.write_bytes(b"no video")
    result = call(str(file), "--out", str(tmp_path / "run"))
    assert result.exit_code == 2
    assert re.search(r"problem:  the video .* can't be opened", result.stdout)


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_text("path,label,split\na.mp4,wave,train\nb.mp4,clap,train\nc.mp4,wave,test\n")
    data = f'data = {{ kind = "csv", root = "{tmp_path}" }}'
    file = recipe_file(tmp_path, data, 'backbone = { source = "nobody/knows" }')
    result = call(str(file), "--out", str(tmp_path / "run"))
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    for said in (
        "the class 'clap' of stage 2 has no test video",
        "2 of 2 for train are missing in",
        "clips/a.mp4, clips/b.mp4",
        "3 of the 3 videos are missing",
        "fetch it now (hf download nobody/knows)",
        "the run could not start; nothing was learnt or written",
    ):
        assert said in result.stdout
    assert not (tmp_path / "run").exists()


def test_a_missing_folder_a_bad_network_and_a_run_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "run" / "stage-1").mkdir(parents=True)
    (tmp_path / "run" / "stage-1" / "stage.json").touch()
    file = recipe_file(
        tmp_path, f'data = {{ kind = "folder", root = "{tmp_path}/none" }}', f'backbone = {{ source = "{tmp_path}" }}'
    )
    result = call(str(file), "--out", str(tmp_path / "run"))
    assert result.exit_code == 2
    assert "has stages but no recipe.toml, which records their settings" in result.stdout
    assert f"there is no data set at {tmp_path}/none" in result.stdout
    assert re.search(r"\[backbone\] source .* can't be loaded", result.stdout)


def test_a_run_that_is_too_large_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("motions", root=str(tmp_path / "motions"))
    monkeypatch.setattr("stpr.train.estimate.dry_run.free_bytes", lambda _: 10_000_000)
    (problem,) = ahead(recipe, tmp_path / "run").problems
    assert re.search(r"the run leaves \d+ bytes, and 10000000 are free", problem)


def test_text_features_need_a_text_tower(tmp_path: Path) -> None:
    recipe = load_recipe("motions", root=str(tmp_path / "motions"), changes=["class_vectors.kind=text"])
    (problem,) = ahead(recipe, tmp_path / "run").problems
    assert "tiny has no text tower that loads" in problem


def test_a_resumed_run_counts_what_is_left(clip_folder: Path, tmp_path: Path) -> None:
    data = folder(tmp_path / "videos")
    network = f'backbone = {{ source = "{clip_folder}" }}'
    file = recipe_file(tmp_path, f'data = {{ kind = "folder", root = "{data}" }}', network)
    run = str(tmp_path / "run")
    quick = (*QUICK, "optimizer.epochs_first=1", "optimizer.epochs_later=1")
    sets = itertools.chain.from_iterable(("--set", change) for change in quick)
    begun = CliRunner().invoke(main, [str(file), "--out", run, "--stages", "1", *sets])
    assert begun.exit_code == 0, begun.output
    for video in (data / "train" / "wave").iterdir():
        video.unlink()
    result = call(str(file), "--out", run, "--resume", sets=quick)
    assert result.exit_code == 0, result.output
    assert row(result.stdout, "2", "1", "1", "1", "clap")
    assert not row(result.stdout, "1", "1")
    assert "12 frames encoded, 1 clips learnt" in result.stdout  # two views of one clip, one view of two
    recipe = load_recipe(str(file), changes=quick)
    left = dry_run(recipe, out=tmp_path / "run", last=None, resume=True)
    first = (tmp_path / "run" / "stage-1" / "model.safetensors").stat().st_size
    assert first < left.sizes[0] < 2.2 * first


@pytest.mark.rare  # half a million videos in the largest
@pytest.mark.parametrize("name", [name for name in (*TCD, *VCLIMB) if name not in ("ssv2-5x18", "ucf101-5x10")])
def test_a_recipe_of_the_paper_is_shown_on_the_official_lists(
    splits: Path, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = official(splits, name)
    found = ahead(recipe, tmp_path / "run")
    if recipe.stages.sizes:
        assert [len(stage.classes) for stage, _ in found.stages] == list(recipe.stages.sizes)
    assert sum(clips.train + clips.test for _, clips in found.stages) == len(found.videos)
    show_findings(found, Rates("some GPU", encode=1e-3, learn=3e-2, decode=None))
    text = capsys.readouterr().out
    for stage, clips in found.stages:
        numbers = [f"{number:,}" for number in (stage.index, len(stage.classes), clips.train, clips.test)]
        assert row(text, *numbers, stage.classes[0].partition(" ")[0])
    assert f"{len(found.videos)} of the {len(found.videos)} videos are missing" in text
    assert f"{PAPER} is not on this machine" in text
    assert "measured just now on some GPU, with random weights in the network's form" in text
    assert all(len(digest) == 64 and digest in text for digest in found.lists.values())
    assert len(found.lists) == (1 if name in VCLIMB else 2 if "hmdb51" in name else 3)
    assert ("test share groups" in text) == (name in VCLIMB)
    assert ("contradicts" in text) == ("hmdb51" in name)
    # 9.46 million parameters an expert (method §0), 12 adapters of 768 x 64, float32
    grown = [after - before for before, after in itertools.pairwise(found.sizes)]
    assert all(37.8e6 < size < 38.3e6 for size in grown)
    on_page = re.search(rf"^\| `{name}` \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert on_page is not None
    work = found.work
    hours = (0.896e-3 * work.encoded + 15.1e-3 * work.learnt) / 3600  # as measured on an H100
    counted = [f"{count:,}" for count in (work.decoded, work.encoded, work.learnt)]
    assert on_page[1].split(" | ") == [*counted, f"{hours:.1f}", f"{sum(found.sizes) / 1e9:.1f} GB"]


@pytest.mark.parametrize("name", KINETICS)
def test_kinetics_without_its_lists_says_which_are_missing(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = ahead(load_recipe(name, root=str(tmp_path)), tmp_path / "run")
    show_findings(found, None)
    text = capsys.readouterr().out
    assert "kinetics_label_map.txt is missing: the Kinetics-400 annotations belong there" in text
    assert "the stages are drawn by a seed because vCLIMB's own task lists" in text
    assert "videos:   unknown" in text
