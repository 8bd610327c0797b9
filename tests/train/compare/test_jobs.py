"""The runs of a comparison: which there are, what stops them before the first, and what one that fails costs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from stpr.runtime.contract.errors import DataError, RecipeError
from stpr.train.compare.jobs import Job, one_order, plan, read_seeds, run_jobs
from stpr.train.compare.presets import choose_rows
from stpr.train.run.checkpoint import kept_tensors, load_stage
from stpr.train.run.execute import execute
from stpr.train.run.prepare import Request
from stpr.train.run.progress import ShownProgress
from stpr.train.settings.model import RouterSettings
from stpr.train.settings.recipe import Recipe
from tests.train.videos import recipe_of, write_videos

ROWS = choose_rows(["mine: method=stpr", "other: method=nearest_mean"])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_videos(tmp_path_factory.mktemp("work") / "set")


def load(root: Path, changes: Sequence[str]) -> Recipe:
    """A recipe with its method, router and seed changed."""
    values = {"method": "stpr", "router.kind": "raw", **dict(change.split("=") for change in changes)}
    router = RouterSettings(kind=values["router.kind"])
    return msgspec.structs.replace(recipe_of(root), method=values["method"], router=router, seed=int(values["seed"]))


@pytest.mark.parametrize(("text", "seeds"), [("0", [0]), ("2,0, 1", [2, 0, 1])])
def test_seeds_are_read(text: str, seeds: list[int]) -> None:
    assert read_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "-1", "1.5", "1,", "1,01", "²"])
def test_what_is_no_list_of_seeds_is_told(text: str) -> None:
    with pytest.raises(RecipeError, match="give different whole numbers separated by commas, such as 0,1,2"):
        read_seeds(text)


def test_each_row_is_learnt_on_each_seed_in_a_folder_of_its_own(root: Path, tmp_path: Path) -> None:
    jobs = plan(lambda changes: load(root, changes), ROWS, [3, 1], out=tmp_path, resume=False)
    assert [(job.row.name, job.seed, job.recipe.method, job.recipe.seed) for job in jobs] == [
        ("mine", 3, "stpr", 3),
        ("mine", 1, "stpr", 1),
        ("other", 3, "nearest_mean", 3),
        ("other", 1, "nearest_mean", 1),
    ]
    assert [job.folder.relative_to(tmp_path).as_posix() for job in jobs[:2]] == ["mine/seed-3", "mine/seed-1"]
    assert list(tmp_path.iterdir()) == []
    assert one_order(jobs)  # the recipe lists its classes
    assert not one_order(jobs[:1])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("method=stpp", r"row 'odd': method must be one of stpr, .*, not 'stpp' \(did you mean 'stpr'\?\)\."),
        ("method=unheard", r"row 'odd': method must be one of stpr, .*, not 'unheard'\."),
        ("router.kind=row", r"row 'odd': \[router\] kind must be one of raw, .*, not 'row' \(did you mean 'raw'\?\)\."),
    ],
)
def test_a_row_that_can_not_be_is_told_before_the_first_run(root: Path, tmp_path: Path, wrong: str, said: str) -> None:
    rows = choose_rows(["mine: method=stpr", f"odd: {wrong}"])
    with pytest.raises(RecipeError, match=said):
        plan(lambda changes: load(root, changes), rows, [0], out=tmp_path, resume=False)


def test_errors_of_a_rows_settings_name_the_row(tmp_path: Path) -> None:
    def refuse(changes: Sequence[str]) -> Recipe:
        raise RecipeError(f"no setting {changes[0]!r}.")

    with pytest.raises(RecipeError, match="row 'mine': no setting 'method=stpr'"):
        plan(refuse, ROWS, [0], out=tmp_path, resume=False)


def jobs_of(root: Path, out: Path, **changes: Recipe) -> list[Job]:
    jobs = plan(lambda given: load(root, given), ROWS, [0], out=out, resume=True)
    return [replace(job, recipe=changes.get(job.row.name, job.recipe)) for job in jobs]


def test_outcomes_are_those_of_the_runs_and_features_are_shared(root: Path, tmp_path: Path) -> None:
    with ShownProgress(quiet=True) as shown:
        found = list(run_jobs(jobs_of(root, tmp_path / "all"), shown, cache=tmp_path / "cache"))
        alone = execute(load(root, ["method=stpr", "seed=0"]), Request(out=tmp_path / "alone"), shown)
    assert [(one.row.name, one.failure) for one in found] == [("mine", ""), ("other", "")]
    assert found[0].metrics is not None
    assert (found[0].metrics.seen, found[0].metrics.curves) == (alone.seen, alone.curves)
    folder = tmp_path / "all" / "mine" / "seed-0"
    assert found[0].kept == sum(value.nbytes for value in kept_tensors(load_stage(folder, 2)[0]).values())
    assert found[0].recipe == hashlib.sha256((folder / "recipe.toml").read_bytes()).hexdigest()


def test_one_run_that_fails_costs_the_others_nothing(root: Path, tmp_path: Path) -> None:
    odd = recipe_of(root, class_vectors={"kind": "text"})  # the tiny network knows no words
    with ShownProgress(quiet=True) as shown:
        found = list(run_jobs(jobs_of(root, tmp_path / "all", mine=odd), shown, cache=tmp_path / "cache"))
    assert [one.metrics is None for one in found] == [True, False]
    assert "no text tower" in found[0].failure


def test_data_that_is_not_there_stops_them_all(tmp_path: Path) -> None:
    with ShownProgress(quiet=True) as shown, pytest.raises(DataError):
        list(run_jobs(jobs_of(tmp_path / "nowhere", tmp_path / "all"), shown, cache=tmp_path / "cache"))
