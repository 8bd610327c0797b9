"""`stpr-train`: learn the stages of a recipe."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from stpr.train.carry_out import carry_out
from stpr.train.config import load_recipe, shipped_recipes
from stpr.train.data.videos import quiet_decoder
from stpr.train.metrics import Metrics, gaps, read_metrics, tested_on
from stpr.train.outlook import look_ahead
from stpr.train.outlook_table import show_outlook
from stpr.train.processes import launched
from stpr.train.progress import ShownProgress
from stpr.train.report import write_report

LEARN = "learn"


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
    epilog=f"Recipes that come with stpr: {', '.join(shipped_recipes())}.",
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


def summary(metrics: Metrics, folder: Path, report: Path) -> str:
    """What a run came to, in three lines, and one for each thing that could not be tested."""
    lost = f"{100 * metrics.backward_forgetting:.1f} points" if metrics.forgetting_known else "unknown"
    notes = "".join(f"note:   {sentence}\n" for sentence in gaps(metrics))
    return (
        f"{metrics.method}: {metrics.final:.1%} on {tested_on(metrics)} after stage {len(metrics.seen)};"
        f" average over stages {metrics.average_incremental:.1%}; backward forgetting {lost}\n"
        f"{notes}"
        f"report: {report}\n"
        f"next:   stpr-export --stage {len(metrics.seen)} --run {folder}"
    )
