"""`stpr-train RECIPE` or `stpr-train FOLDER`: train on a recipe's stages, or on a folder of videos as one stage."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click

from stpr.runtime.contract.command import Unnamed
from stpr.train.settings.shipped import shipped_recipes

FIRST_HOUR: Final = (
    ("stpr-train videos/ --set backbone.source=DIR", "learn videos/CLASS/*.mp4 as one stage"),
    ("stpr-export --stage 1", "make a bundle for the device"),
    ("stpr-run --camera 0", "recognise live"),
    ("stpr-train more-videos/ --run runs/videos", "learn the new classes there as another stage"),
)


class _Learn(Unnamed):
    """The command with the getting-started examples at the end of its help."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the getting-started examples before the epilog."""
        with formatter.section("The first hour"):
            formatter.write_dl(FIRST_HOUR)
        super().format_epilog(ctx, formatter)


@click.command(
    cls=_Learn,
    context_settings={"show_default": True},
    epilog=f"Recipes that come with stpr: {', '.join(shipped_recipes())}.",
)
@click.argument("recipe", metavar="RECIPE|FOLDER")
@click.option("--data", metavar="DIR", help="Folder of the videos; replaces the recipe's [data] root.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/NAME]")
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Learn a folder's new classes as one more stage of RUN.",
)
@click.option("--stages", type=click.IntRange(min=1), help="Stop after this stage.  [default: the last]")
@click.option("--resume", is_flag=True, help="Continue the run in --out where it was stopped.")
@click.option("--dry-run", is_flag=True, help="Train nothing: show the stages, what is missing, time and disk space.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a setting: optimizer.rate=0.02")
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Cache the videos' frozen features there, until you delete it, and reuse them.  [default: no cache]",
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
    run: Path | None,
    stages: int | None,
    resume: bool,
    dry_run: bool,
    changes: tuple[str, ...],
    cache: Path | None,
    beside: tuple[Path, ...],
) -> None:
    """Learn the stages of RECIPE or the classes of a FOLDER of videos, and write a report.

    RECIPE is a TOML file or one that comes with stpr; FOLDER has a folder for each class, or train/ and test/ with one.
    """
    from stpr.train.data.videos import quiet_decoder
    from stpr.train.learning.distributed import launched
    from stpr.train.methods import cautions
    from stpr.train.report.dry_run_table import show_dry_run
    from stpr.train.report.run import finished_runs, summary, write_report
    from stpr.train.run.execute import execute
    from stpr.train.run.folder import reserved
    from stpr.train.run.prepare import Request
    from stpr.train.run.progress import ShownProgress
    from stpr.train.run.task import TaskOptions, read_task

    quiet_decoder()
    task = read_task(recipe, TaskOptions(data=data, out=out, run=run, resume=resume, changes=changes))
    settings, folder = task.recipe, task.out
    others = finished_runs(beside)  # an error should show before hours of training, not after
    if dry_run:
        with task.for_dry_run() as trial:
            sys.exit(0 if show_dry_run(trial, folder, last=stages, resume=task.resume) else 2)
    with launched() as processes, ExitStack() as held:
        with processes.together():
            if processes.is_main:  # the processes of one launch belong to one run
                held.enter_context(reserved(folder))
                task.write_list()
                for caution in (*task.notes, *cautions(settings)):
                    click.echo(f"note: {caution}", err=True)
        with ShownProgress(quiet=not processes.is_main) as shown:
            request = Request(out=folder, resume=task.resume, last=stages, cache=cache)
            metrics = execute(settings, request, shown, processes)
        if processes.is_main:
            report = write_report(folder, others)
            click.echo(summary(metrics, folder, report))
