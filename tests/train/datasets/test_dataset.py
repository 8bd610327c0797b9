"""What every kind of data set shares, and that each is one."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, get_args

import pytest

from stpr.train.datasets import AnyDataset
from stpr.train.datasets.dataset import Dataset, Listed
from stpr.train.settings.load import load_recipe


@pytest.mark.parametrize("kind", get_args(AnyDataset))
def test_a_kind_is_a_table_of_a_recipe_that_reads_its_own_lists(kind: type[Dataset], tmp_path: Path) -> None:
    name = kind.__struct_config__.tag
    recipe = load_recipe("motions", changes=[f"data={{kind='{name}', root='{tmp_path}', skip='skip.txt'}}"])
    assert type(recipe.data) is kind
    assert (recipe.data.root, recipe.data.skip) == (str(tmp_path), "skip.txt")
    assert kind.listed is not Dataset.listed


class Plain(Dataset, frozen=True):
    """A kind with nothing of its own to say."""

    def listed(self) -> Listed:
        return Listed(self.path("videos"), [])


class Doubtful(Plain, frozen=True):
    """A kind whose figures need a word, and another where stages are drawn."""

    caution: ClassVar[str] = "mind this."
    caution_if_drawn: ClassVar[str] = "mind that."


def test_what_must_be_said_beside_the_figures() -> None:
    assert Plain(root="x").cautions(drawn=True) == []
    assert Doubtful(root="x").cautions(drawn=False) == ["mind this."]
    assert Doubtful(root="x").cautions(drawn=True) == ["mind this.", "mind that."]


def test_files_are_relative_to_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert Plain(root="~/set").path("") == Path("/home/ada/set")
    assert Plain(root="~/set").path("lists/a.txt") == Path("/home/ada/set/lists/a.txt")
    assert Plain(root="set").path("/elsewhere/a.txt") == Path("/elsewhere/a.txt")
    assert Plain(root="set").path("~/a.txt") == Path("/home/ada/a.txt")


def test_a_plain_kind_has_nothing_to_write(tmp_path: Path) -> None:
    Plain(root=str(tmp_path)).prepare(lambda *_: pytest.fail("nothing is written"))
    assert list(tmp_path.iterdir()) == []
