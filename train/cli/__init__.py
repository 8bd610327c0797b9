"""`stpr-train`: learn the stages of a recipe."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import click
import msgspec

from stpr.runtime.contract.errors import CheckpointError, RecipeError
from stpr.train.compare.jobs import Outcome, one_order, plan, read_seeds, run_jobs
from stpr.train.compare.presets import GROUPS, ROWS, choose_rows, sets_seed
from stpr.train.data.videos import quiet_decoder
from stpr.train.estimate.audit import audit
from stpr.train.estimate.dry_run import look_ahead
from stpr.train.learning.distributed import launched
from stpr.train.report.audit_tables import show_audit
from stpr.train.report.comparison import failures, show_comparison, write_comparison
from stpr.train.report.dry_run_table import show_outlook
from stpr.train.report.growth_figure import write_growth
from stpr.train.report.run import write_report
from stpr.train.run.execute import carry_out
from stpr.train.run.metrics import Metrics, caveats, read_metrics, tested_on
from stpr.train.run.progress import ShownProgress
from stpr.train.settings.load import load_recipe, shipped_recipes
from stpr.train.settings.recipe import Recipe

LEARN = "learn"
ONE_ORDER = (
    "note: the recipe fixes the class order, so seeds differ in all else alone; to draw it, give sizes, such as"
    " --set 'stages={sizes=[2,2,2,2,2]}'"
)


class _Learn(click.Command):
    """The command that needs no name."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Leave the name out where the user does."""
        assert ctx.parent is not None
        formatter.write_usage(ctx.parent.command_path, " ".join(self.collect_usage_pieces(ctx)))


class _Commands(click.Group):
    """`stpr-train RECIPE …` learns; whatever else there is to do has a name in front."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take anything but the name of a command for a recipe or its options."""
        named = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if named else [LEARN, *args])


@click.group(cls=_Commands)
def main() -> None:
    """Learn stages of actions."""


@main.command(
    LEARN,
    cls=_Learn,
    context_settings={"show_default": True},
    epilog=f"Recipes that come with stpr: {', '.join(shipped_recipes())}. Beside this: `stpr-train compare RECIPE` and"
    " `stpr-train audit RUN`, each with a --help of its own.",
)
@click.argument("recipe", metavar="RECIPE")
@click.option("--data", metavar="DIR", help="Where the videos lie; replaces the recipe's [data] root.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/NAME]")
@click.option("--stages", type=click.IntRange(min=1), help="Stop after this stage.  [default: the last]")
@click.option("--resume", is_flag=True, help="Go on where the run in --out was stopped.")
@click.option("--dry-run", is_flag=True, help="Learn nothing: show the stages, what is missing, time and disk.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a setting: optimizer.rate=0.02")
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep the videos' frozen features there, until you delete it, and take them from there.  [default: keep none]",
)
@click.option(
    "--beside",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Show this finished run in the report.",
)
def learn(  # noqa: PLR0913  (one parameter per option is click's way)
    *,
    recipe: str,
    data: str | None,
    out: Path | None,
    stages: int | None,
    resume: bool,
    dry_run: bool,
    changes: tuple[str, ...],
    cache: Path | None,
    beside: tuple[Path, ...],
) -> None:
    """Learn the stages of RECIPE, a TOML file or one of those that come with stpr, and write a report."""
    quiet_decoder()
    settings = load_recipe(recipe, changes=changes, root=data)
    others = {run.name: run for run in beside}
    for other in others.values():
        read_metrics(other)  # before hours of training, not after
    folder = out or Path("runs") / settings.name
    if dry_run:
        outlook = look_ahead(settings, out=folder, last=stages, resume=resume)
        show_outlook(outlook, outlook.rates())
        sys.exit(2 if outlook.problems else 0)
    with launched() as processes:
        if processes.is_main:
            for caution in settings.cautions:
                click.echo(f"note: {caution}", err=True)
        with ShownProgress(quiet=not processes.is_main) as shown:
            metrics = carry_out(settings, folder, shown, resume=resume, stages=stages, cache=cache, processes=processes)
        if processes.is_main:
            report = write_report(folder, others)
            click.echo(summary(metrics, folder, report))


@main.command("audit")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def show_kept(*, run: Path, as_json: bool) -> None:
    """List every byte that RUN keeps after each stage, and prove that none of it grows with the training clips."""
    found = audit(run)
    picture = write_growth(run, found)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=1))
    else:
        show_audit(found)
        click.echo(f"picture:  {picture}")
    if found.faults:
        more = f" (and {len(found.faults) - 1} more)" if len(found.faults) > 1 else ""
        raise CheckpointError(f"{run} keeps what is not explained: {found.faults[0]}{more}; remove it and audit again.")


def summary(metrics: Metrics, folder: Path, report: Path) -> str:
    """What a run came to, in three lines, and one for each thing that could not be tested."""
    lost = f"{100 * metrics.backward_forgetting:.1f} points" if metrics.forgetting_known else "unknown"
    notes = "".join(f"note:   {sentence}\n" for sentence in caveats(metrics))
    return (
        f"{metrics.method}: {metrics.final:.1%} on {tested_on(metrics)} after stage {len(metrics.seen)};"
        f" average over stages {metrics.average_incremental:.1%}; backward forgetting {lost}\n"
        f"{notes}"
        f"report: {report}\n"
        f"next:   stpr-export --stage {len(metrics.seen)} --run {folder}"
    )


@main.command(
    context_settings={"show_default": True},
    epilog=f"Groups of rows: {', '.join(GROUPS)}. Rows: {', '.join(ROWS)}.",
)
@click.argument("recipe", metavar="RECIPE")
@click.option(
    "--row",
    "asked",
    multiple=True,
    default=("methods",),
    metavar="NAME[,NAME…]",
    help="Rows or groups that come with stpr, or one of your own: 'NAME: KEY=VALUE KEY=VALUE'.",
)
@click.option("--seeds", default="0,1,2", metavar="N,N,…", help="One run of each row for each.")
@click.option("--data", metavar="DIR", help="Where the videos lie; replaces the recipe's [data] root.")
@click.option("--out", type=click.Path(path_type=Path), help="Holds all runs.  [default: runs/NAME-compare]")
@click.option("--resume", is_flag=True, help="Keep the runs of --out that are finished and go on with the others.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a setting of every row.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep the videos' frozen features there, until you delete it.  [default: in --out, deleted at the end]",
)
def compare(  # noqa: PLR0913  (one parameter per option is click's way)
    *,
    recipe: str,
    asked: tuple[str, ...],
    seeds: str,
    data: str | None,
    out: Path | None,
    resume: bool,
    changes: tuple[str, ...],
    cache: Path | None,
) -> None:
    """Run rows of changes to RECIPE on several seeds, and write one table and one picture of them."""
    quiet_decoder()
    if sets_seed(changes):
        raise RecipeError("--set seed: each run of a comparison has a seed of its own; use --seeds.")

    def load(more: Sequence[str] = ()) -> Recipe:
        return load_recipe(recipe, changes=[*changes, *more], root=data)

    folder = out or Path("runs") / f"{load().name}-compare"
    jobs = plan(load, choose_rows(asked), read_seeds(seeds), out=folder, resume=resume)
    outcomes: list[Outcome] = []
    about = {"command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])}
    with ShownProgress() as shown:
        if one_order(jobs):
            shown.console.print(ONE_ORDER, soft_wrap=True)
        for _, done in groupby(run_jobs(jobs, shown, cache=cache or folder / "cache"), key=lambda outcome: outcome.row):
            outcomes += done
            page = write_comparison(folder, outcomes, title=f"{jobs[0].recipe.name}: comparison", about=about)
    shutil.rmtree(folder / "cache", ignore_errors=True)  # until here, so that a comparison that was stopped can use it
    show_comparison(outcomes)
    click.echo(f"page:   {page}")
    if failed := failures(outcomes):
        for line in failed:
            click.echo(line, err=True)
        count = sum(bool(outcome.failure) for outcome in outcomes)
        raise RecipeError(
            f"{count} of {len(outcomes)} runs failed, see above; mend their rows and go on with --resume."
        )
