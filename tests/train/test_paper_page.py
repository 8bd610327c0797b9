"""The page of the paper's tables: a row for every recipe of the paper, and no command that would not start."""

from __future__ import annotations

import itertools
import re
import shlex
from pathlib import Path

import pytest

from stpr.train.settings.load import load_recipe
from stpr.train.settings.recipe import Recipe
from stpr.train.settings.shipped import shipped_recipes
from tests.train.datasets.test_benchmarks import KINETICS, TCD, VCLIMB

PAGE = (Path(__file__).parents[2] / "tools/site/pages/paper.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"stpr-train [^`\n]*", PAGE)
ABLATIONS = re.findall(r"^\|(?:[ ✓]*\|){3} (?:`([^`]*)`|none) \|", PAGE, re.MULTILINE)
OWN = ("motions", "asl24")


def load(command: str) -> Recipe:
    """The recipe of a command, with its changes applied."""
    words = shlex.split(command.replace("$seed", "1993"))
    changes = [value for flag, value in itertools.pairwise(words) if flag == "--set"]
    first = words[2] if words[1] == "compare" else words[1]
    name = "ucf101-10x5" if first == "RECIPE" else first
    return load_recipe(name, changes=changes)


def test_every_recipe_of_the_paper_has_its_row() -> None:
    paper = [name for name in shipped_recipes() if name not in OWN]
    assert sorted(paper) == sorted([*TCD, *KINETICS, *VCLIMB])
    for name in paper:
        assert len(re.findall(rf"^\| [^|]* \| `stpr-train {name} --data DIR", PAGE, re.MULTILINE)) == 1
        assert len(re.findall(rf"^\| `{name}` \|", PAGE, re.MULTILINE)) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_that_starts(command: str) -> None:
    recipe = load(command)
    assert recipe.name in OWN or recipe.backbone.source == "openai/clip-vit-base-patch16"


@pytest.mark.parametrize("changes", ABLATIONS)
def test_an_ablation_is_one_of_both_data_sets(changes: str) -> None:
    assert len(ABLATIONS) == 6
    rows = [load(f"stpr-train {name} {changes}") for name in ("ucf101-10x5", "hmdb51-5x5 --set stages.sizes=[26,25]")]
    assert [recipe.stages.sizes for recipe in rows] == [(51, 10, 10, 10, 10, 10), (26, 25)]
    trains = {recipe.adapter.place != "none" or recipe.expert.layers > 0 for recipe in rows}
    assert trains == {rows[0].optimizer.epochs_first > 0}


@pytest.mark.parametrize("seed", ["1000", "1993", "2021"])
def test_the_seeds_are_those_of_the_protocol(seed: str) -> None:
    assert re.search(rf"--seeds [\d,]*{seed}", PAGE)
    assert load_recipe("ucf101-10x5", changes=[f"seed={seed}"]).stages.seed == int(seed)


def test_the_figures_of_the_recipes_are_those_of_the_page() -> None:
    for name in [*TCD, *KINETICS]:
        comment = (Path(__file__).parents[2] / "train" / "settings" / "recipes" / f"{name}.toml").read_text(
            encoding="utf-8"
        )
        row = re.search(rf"`stpr-train {name} [^|]*\| ([^|]*) \|", PAGE)
        assert row is not None
        figures = re.findall(r"\d\d\.\d\d", row[1])
        said = re.findall(r"\b\d\d\.\d\d\b", comment)
        assert figures == said


def test_the_leak_is_said_beside_every_vclimb_number() -> None:
    assert "training and test share groups" in PAGE
    for line in PAGE.splitlines():
        if "vCLIMB UCF101" in line or line.startswith("| method |"):
            assert "(c)" in line
    for name in VCLIMB:
        comment = (Path(__file__).parents[2] / "train" / "settings" / "recipes" / f"{name}.toml").read_text(
            encoding="utf-8"
        )
        assert "train and test share groups" in comment
