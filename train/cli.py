"""`stpr-train`: learn the stages of a recipe."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from stpr.train.config import load_recipe, shipped_recipes
from stpr.train.data.source import read_stages, read_videos
from stpr.train.data.videos import quiet_decoder
from stpr.train.learner import Terms
from stpr.train.metrics import Metrics, gaps, read_metrics
from stpr.train.protocol import prepare, run_protocol
from stpr.train.report import write_report
from stpr.train.resume import look_back


@click.command(
    context_settings={"show_default": True}, epilog=f"Recipes that come with stpr: {', '.join(shipped_recipes())}."
)
@click.argument("recipe", metavar="RECIPE")
@click.option("--data", metavar="DIR", help="Where the videos lie; replaces the recipe's [data] root.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/NAME]")
@click.option("--stages", type=click.IntRange(min=1), help="Stop after this stage.  [default: the last]")
@click.option("--resume", is_flag=True, help="Go on after the last finished stage of --out.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a setting: optimizer.rate=0.02")
@click.option(
    "--beside",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Show this finished run in the report.",
)
def main(  # noqa: PLR0913  (one parameter per option is click's way)
    *,
    recipe: str,
    data: str | None,
    out: Path | None,
    stages: int | None,
    resume: bool,
    changes: tuple[str, ...],
    beside: tuple[Path, ...],
) -> None:
    """Learn the stages of RECIPE, a TOML file or one of those that come with stpr, and write a report."""
    quiet_decoder()
    settings = load_recipe(recipe, changes=changes, root=data)
    others = {run.name: run for run in beside}
    for other in others.values():
        read_metrics(other)  # before hours of training, not after
    folder = out or Path("runs") / settings.name
    past = look_back(folder, settings, resume=resume)
    learnt = past.record.stages if past else ()
    with ShownProgress() as shown:
        videos = read_videos(settings.data, shown.generating, learnt)
        plan = read_stages(settings.stages, videos, learnt, settings.data)
        run = prepare(settings, videos, plan, out=folder, progress=shown, past=past)
        metrics = run_protocol(run, last=min(stages or len(plan), len(plan)))
    report = write_report(folder, others)
    click.echo(summary(metrics, folder, report))


def summary(metrics: Metrics, folder: Path, report: Path) -> str:
    """What a run came to, in three lines, and one for each thing that could not be tested."""
    lost = f"{100 * metrics.backward_forgetting:.1f} points" if metrics.forgetting_known else "unknown"
    notes = "".join(f"note:   {sentence}\n" for sentence in gaps(metrics))
    return (
        f"{metrics.method}: {metrics.final:.1%} on {_tested_on(metrics)} after stage {len(metrics.seen)};"
        f" average over stages {metrics.average_incremental:.1%}; backward forgetting {lost}\n"
        f"{notes}"
        f"report: {report}\n"
        f"next:   stpr-export --stage {len(metrics.seen)} --run {folder}"
    )


def _tested_on(metrics: Metrics) -> str:
    count, untested = len(metrics.classes), len(metrics.untested_classes)
    return f"{count - untested} of {count} classes" if untested else f"all {count} classes"


class ShownProgress:
    """Progress bars on a terminal; elsewhere one plain line per stage and per stretch of encoding."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bars.add_task("", total=None, note="", visible=False)
        self.shows = ""

    def __enter__(self) -> ShownProgress:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        self.bars.stop()

    def generating(self, done: int, total: int) -> None:
        """The motions set is being written."""
        self._advance("motions: writing videos", done, total)

    def encoding(self, what: str, done: int, total: int) -> None:
        """Clips are being decoded and encoded."""
        self._advance(f"{what}: encoding clips", done, total)

    def epoch(self, stage: int, number: int, total: int, terms: Terms) -> None:
        """An epoch of a stage ended."""
        note = "  ".join(f"{name} {value:.3g}" for name, value in terms.items())
        self._advance(f"stage {stage}: learning, epochs", number, total, note=note)

    def tested(self, metrics: Metrics) -> None:
        """A stage was learnt and tested."""
        self.console.print(f"stage {len(metrics.stages)}: {metrics.final:.1%} on {_tested_on(metrics)} seen so far")

    def _advance(self, what: str, done: int, total: int, *, note: str = "") -> None:
        if what != self.shows:
            self.shows = what
            self.bars.reset(self.task, total=total, description=what, visible=True)
            if not self.console.is_terminal:
                self.console.print(f"{what}: {total}")
        self.bars.update(self.task, completed=done, note=note)
