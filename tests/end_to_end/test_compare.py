"""`stpr-train compare` as a user runs it, on two videos a class, and as a user breaks it."""

from __future__ import annotations

import csv
import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from stpr.train.cli import main
from stpr.train.run.progress import ShownProgress
from tests.factories import make_video

SMALL = "small: expert.mlp_ratio=1 router.kind=likelihood"
ASKED = ("--row", SMALL, "--row", "text: class_vectors.kind=text", "--row", "nearest_mean")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("work")
    for split, label in itertools.product(("train", "test"), ("jump", "wave", "clap")):
        (root / "set" / split / label).mkdir(parents=True)
        for index in range(2):
            make_video(root / "set" / split / label / f"{split}{index}.avi", frames=12)
    file = root / "own.toml"
    file.write_text(
        f'name = "own"\n[data]\nkind = "folder"\nroot = "{root / "set"}"\n[stages]\nsizes = [2, 1]\n'
        '[backbone]\nsource = "tiny"\n'
        '[class_vectors]\nkind = "prototypes"\n[adapter]\nplace = "feature"\n[sampling]\nframes = 4\ndraws = 1\n'
        "[expert]\nlayers = 1\n[optimizer]\nepochs_first = 1\nepochs_later = 1\n"
    )
    return file


def compare(recipe: Path, out: str, *extra: str) -> Result:
    return CliRunner().invoke(main, ["compare", str(recipe), "--out", str(recipe.parent / out), *extra])


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "table.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def figures(folder: Path) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows(folder)]


@pytest.fixture(scope="module")
def compared(recipe: Path) -> Path:
    """Two rows that can be learnt and one that can't, on two seeds."""
    result = compare(recipe, "whole", *ASKED, "--seeds", "1,0")
    assert result.exit_code == 2
    assert "row 1/3 small, seed 0 (2/2)" in result.stderr
    assert "Error: 2 of 6 runs failed" in result.stderr.splitlines()[-1]
    assert "text failed (seed 1, 0): " in result.stderr
    assert "routing accuracy" in result.stdout
    return recipe.parent / "whole"


def test_one_row_that_fails_costs_the_others_nothing(compared: Path) -> None:
    found = rows(compared)
    wanted = [(row, seed) for row in ("small", "text", "nearest_mean") for seed in ("1", "0")]
    assert [(row["row"], row["seed"]) for row in found] == wanted
    for row in found:
        failed = row["row"] == "text"
        assert (row["final"] == "", "no text tower" in row["failed"]) == (failed, failed)
        assert (row["oracle_accuracy"] != "") == (row["row"] == "small")
        if not failed:
            run = compared / row["row"] / f"seed-{row['seed']}"
            files = {"recipe.toml", "metrics.json", "stage-1", "stage-2", "tensorboard"}
            assert {path.name for path in run.iterdir()} == files
    assert "| text | 0 of 2 |" in (compared / "table.md").read_text(encoding="utf-8")
    assert (compared / "curves.png").is_file()
    assert (compared / "index.html").is_file()


def test_a_run_of_a_comparison_is_the_run_of_its_own(
    recipe: Path, compared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stpr.train.report.run.write_report", lambda folder, _: folder / "report")
    changes = ["--set", "expert.mlp_ratio=1", "--set", "router.kind=likelihood", "--set", "seed=1"]
    result = CliRunner().invoke(main, [str(recipe), "--out", str(recipe.parent / "alone"), *changes])
    assert result.exit_code == 0, result.output
    one, two = (
        load_file(run / "stage-2" / "model.safetensors") for run in (recipe.parent / "alone", compared / "small/seed-1")
    )
    assert set(one) == set(two)
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_a_comparison_that_was_killed_goes_on(recipe: Path, compared: Path) -> None:
    told: list[Any] = []

    def stop(*given: Any) -> None:
        told.append(given)
        if len(told) == 4:  # a whole run, and the first stage of the next one
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ShownProgress, "epoch", stop)
        result = compare(recipe, "killed", *ASKED, "--seeds", "1,0")
    assert result.exit_code == 1
    assert result.stderr.rstrip().endswith("Aborted!")
    out = recipe.parent / "killed"
    done = out / "small" / "seed-1" / "metrics.json"
    before = done.stat().st_mtime_ns
    assert [path.name for path in (out / "small" / "seed-0").glob("stage-*")] == ["stage-1"]
    assert "continue with --resume" in compare(recipe, "killed", *ASKED, "--seeds", "1,0").stderr
    assert compare(recipe, "killed", *ASKED, "--seeds", "1,0", "--resume").exit_code == 2
    assert done.stat().st_mtime_ns == before
    assert figures(out) == figures(compared)


def test_a_finished_comparison_takes_more_rows_and_fewer(recipe: Path, compared: Path) -> None:
    shutil.copytree(compared, recipe.parent / "more")
    result = compare(
        recipe, "more", "--row", "streaming_lda,nearest_mean", "--seeds", "0", "--resume",
        "--set", "stages={sizes=[2, 1]}",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stderr.count("finished before") == 1
    assert [row["row"] for row in rows(recipe.parent / "more")] == ["streaming_lda", "nearest_mean"]


def test_seeds_draw_class_orders_unless_the_recipe_fixes_them(recipe: Path) -> None:
    stages = 'stages={classes=[["clap","jump"],["wave"]]}'
    result = compare(recipe, "fixed", "--row", "nearest_mean", "--seeds", "0,1", "--set", stages)
    assert result.exit_code == 0, result.output
    assert "note: the recipe fixes the class order" in result.stderr.splitlines()[0]
    assert "all in one class order" in (recipe.parent / "fixed" / "table.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--row", "strp"], "no row 'strp' (did you mean 'stpr'?)"),
        (["--row", "stpr", "--row", "mine: expert.layer=2"], "row 'mine': "),
        (["--row", "mine: expert.layers=0"], "row 'mine': "),
        (["--row", "mine: layers"], "row 'mine': --set 'layers': write KEY=VALUE"),
        (["--seeds", "0,x"], "--seeds '0,x': give different whole numbers separated by commas"),
        (["--seeds", "0,00"], "--seeds '0,00': give different"),
        (["--seeds", ""], "--seeds is empty; is it a variable that is not set?"),
        (["--seeds", ","], "--seeds ',': give different"),
        (["--set", "seed=3"], "--set seed: a comparison sets the seed of each run; use --seeds"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_what_can_not_be_is_one_line_before_any_run(recipe: Path, extra: list[str], said: str) -> None:
    result = compare(recipe, "never", *extra)
    assert result.exit_code == 2, result.output
    *_, last = result.stderr.splitlines()
    assert last.startswith("Error: ")
    assert said in last
    assert not (recipe.parent / "never").exists()
