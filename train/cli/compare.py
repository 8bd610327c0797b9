"""`stpr-train compare RECIPE`: train variants of a recipe (rows) on several seeds and put the results in one table."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from stpr.runtime.contract.command import Command
from stpr.runtime.contract.errors import RecipeError
from stpr.train.compare.presets import GROUPS, ROWS, choose_rows, sets_seed

if TYPE_CHECKING:
    from stpr.train.compare.jobs import Outcome
    from stpr.train.settings.recipe import Recipe

ONE_ORDER: Final = (
    "note: the recipe fixes the class order, so it is the same for all seeds; to draw it by seed, give sizes, such as"
    " --set 'stages={sizes=[2,2,2,2,2]}'"
)


@click.command(
    cls=Command,
    context_settings={"show_default": True},
    epilog=f"Groups of rows: {', '.join(GROUPS)}. Rows: {', '.join(ROWS)}.",
)
@click.argument("recipe", metavar="RECIPE")
@click.option(
    "--row",
    "rows",
    multiple=True,
    default=("methods",),
    metavar="NAME[,NAME…]",
    help="Preset rows or groups, or a row of your own: 'NAME: KEY=VALUE KEY=VALUE'.",
)
@click.option("--seeds", default="0,1,2", metavar="N,N,…", help="Train each row once per seed.")
@click.option("--data", metavar="DIR", help="Folder of the videos; replaces the recipe's [data] root.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for all runs.  [default: runs/NAME-compare]")
@click.option("--resume", is_flag=True, help="Keep the finished runs in --out and continue with the others.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a setting of every row.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Cache the videos' frozen features there, until you delete it.  [default: in --out, deleted at the end]",
)
def command(  # noqa: PLR0913  (one parameter per option is click's way)
    *,
    recipe: str,
    rows: tuple[str, ...],
    seeds: str,
    data: str | None,
    out: Path | None,
    resume: bool,
    changes: tuple[str, ...],
    cache: Path | None,
) -> None:
    """Train variants of RECIPE (rows) on several seeds, and write one table and one figure of the results."""
    from stpr.train.compare.jobs import one_order, plan, read_seeds, run_jobs
    from stpr.train.data.videos import quiet_decoder
    from stpr.train.report.comparison import failures, show_comparison, write_comparison
    from stpr.train.run.folder import reserved
    from stpr.train.run.progress import ShownProgress
    from stpr.train.settings.load import load_recipe

    quiet_decoder()
    if sets_seed(changes):
        raise RecipeError("--set seed: a comparison sets the seed of each run; use --seeds.")

    def load(more: Sequence[str] = ()) -> Recipe:
        return load_recipe(recipe, changes=[*changes, *more], root=data)

    folder = out or Path("runs") / f"{load().name}-compare"
    outcomes: list[Outcome] = []
    about = {"command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])}
    with reserved(folder), ShownProgress() as shown:
        jobs = plan(load, choose_rows(rows), read_seeds(seeds), out=folder, resume=resume)
        if one_order(jobs):
            shown.console.print(ONE_ORDER, soft_wrap=True)
        for _, done in groupby(run_jobs(jobs, shown, cache=cache or folder / "cache"), key=lambda outcome: outcome.row):
            outcomes += done
            page = write_comparison(folder, outcomes, title=f"{jobs[0].recipe.name}: comparison", about=about)
        # Deleted only now, so that a comparison that was stopped can reuse it.
        shutil.rmtree(folder / "cache", ignore_errors=True)
    show_comparison(outcomes)
    click.echo(f"page:   {page}")
    if failed := failures(outcomes):
        for line in failed:
            click.echo(line, err=True)
        count = sum(bool(outcome.failure) for outcome in outcomes)
        raise RecipeError(
            f"{count} of {len(outcomes)} runs failed, see above; fix their rows and continue with --resume."
        )
