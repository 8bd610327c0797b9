"""`stpr-train RECIPE`: learn the stages of a recipe."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import click

from stpr.runtime.contract.command import Command
from stpr.train.settings.shipped import shipped_recipes


class _Unnamed(Command):
    """The command that needs no name, so its help is the first that anybody reads and lists the others too."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Leave the name out where the user does."""
        assert ctx.parent is not None
        formatter.write_usage(ctx.parent.command_path, " ".join(self.collect_usage_pieces(ctx)))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Name the other commands, each with a --help of its own."""
        super().format_epilog(ctx, formatter)
        assert ctx.parent is not None
        assert isinstance(ctx.parent.command, click.Group)
        others = {name: command for name, command in ctx.parent.command.commands.items() if command is not self}
        with formatter.section("Other commands (each has its own --help)"):
            formatter.write_dl([(name, command.get_short_help_str(200)) for name, command in others.items()])


@click.command(
    cls=_Unnamed,
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
def command(  # noqa: PLR0913  (one parameter per option is click's way)
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
    from stpr.train.data.videos import quiet_decoder
    from stpr.train.learning.distributed import launched
    from stpr.train.methods import cautions, check_names
    from stpr.train.report.dry_run_table import show_dry_run
    from stpr.train.report.run import finished_runs, summary, write_report
    from stpr.train.run.execute import execute
    from stpr.train.run.folder import reserved
    from stpr.train.run.prepare import Request
    from stpr.train.run.progress import ShownProgress
    from stpr.train.settings.load import load_recipe

    quiet_decoder()
    settings = load_recipe(recipe, changes=changes, root=data)
    check_names(settings)
    others = finished_runs(beside)  # before hours of training, not after
    folder = out or Path("runs") / settings.name
    if dry_run:
        sys.exit(0 if show_dry_run(settings, folder, last=stages, resume=resume) else 2)
    with launched() as processes, ExitStack() as held:
        with processes.together():
            if processes.is_main:  # the processes of one launch belong to one run
                held.enter_context(reserved(folder))
                for caution in cautions(settings):
                    click.echo(f"note: {caution}", err=True)
        with ShownProgress(quiet=not processes.is_main) as shown:
            request = Request(out=folder, resume=resume, last=stages, cache=cache)
            metrics = execute(settings, request, shown, processes)
        if processes.is_main:
            report = write_report(folder, others)
            click.echo(summary(metrics, folder, report))
