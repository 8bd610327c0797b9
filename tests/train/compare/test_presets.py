"""Which rows a comparison has: shipped names and groups, and rows that the user defines."""

from __future__ import annotations

import itertools

import pytest

from stpr.runtime.contract.errors import RecipeError
from stpr.train.compare.presets import GROUPS, NAME, ROWS, Row, choose_rows
from stpr.train.settings.load import load_recipe


@pytest.mark.parametrize("name", ROWS)
def test_every_shipped_row_is_a_recipe(name: str) -> None:
    assert NAME.fullmatch(name)
    assert (load_recipe("motions", changes=ROWS[name]) == load_recipe("motions")) == (name == "stpr")


def test_groups_name_rows_and_every_row_is_in_one() -> None:
    assert set(itertools.chain.from_iterable(GROUPS.values())) == set(ROWS)
    assert not set(GROUPS) & set(ROWS)


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        (["finetune"], ["finetune"]),
        (["finetune, stpr", "ewc"], ["finetune", "stpr", "ewc"]),
        (["routers"], list(GROUPS["routers"])),
        (["stpr", "methods", "ablation"], list(dict.fromkeys(["stpr", *GROUPS["methods"], *GROUPS["ablation"]]))),
    ],
)
def test_each_row_comes_once_and_where_it_is_asked_for(asked: list[str], names: list[str]) -> None:
    rows = choose_rows(asked)
    assert [row.name for row in rows] == names
    assert all(row.changes == ROWS[row.name] for row in rows)


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("mine: expert.layers=2 router.kind=raw", ("expert.layers=2", "router.kind=raw")),
        ("mine:expert.layers=2", ("expert.layers=2",)),
        ("mine:", ()),
        (
            'mine: data.train={signer=["jack", "tom"], part=["a"]}  statistics.parts=["mean", "deviation"] seeds=1',
            ('data.train={signer=["jack", "tom"], part=["a"]}', 'statistics.parts=["mean", "deviation"]', "seeds=1"),
        ),
        ("mine: stages={sizes=[2, 2], seed=3} name=b", ("stages={sizes=[2, 2], seed=3}", "name=b")),
        ("mine: class_vectors.prompt=a person who is {}", ("class_vectors.prompt=a person who is {}",)),
    ],
)
def test_a_row_that_the_user_defines(text: str, changes: tuple[str, ...]) -> None:
    assert choose_rows([text]) == [Row("mine", changes)]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["finetun"], r"no row 'finetun' \(did you mean 'finetune'\?\): name groups \(methods, .*rows \(stpr, "),
        (["stpr,letter"], r"no row 'letter' \(renamed: 'paper'\)"),
        (["stpr,"], "no row ''"),
        (["ewc: ewc.weight=1"], "the row 'ewc' comes with stpr; give yours another name"),
        (["../up: ewc.weight=1"], r"row name '\.\./up' can't name a folder"),
        (["a: seed=1"], "row 'a': a comparison sets the seed of each run; use --seeds"),
        (["a: ewc.weight=1", "a: ewc.weight=2"], "--row 'a' is given twice with different changes"),
    ],
)
def test_a_row_that_can_not_be_is_one_line(asked: list[str], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        choose_rows(asked)
