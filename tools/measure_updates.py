"""What each stage of a run ships to a device that has the one before: exported in turn, in a table and a picture."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Final

import click
from matplotlib.figure import Figure

from stpr.export.package.pipeline import export_stage
from stpr.export.package.request import Options
from stpr.export.precisions import PRECISIONS
from stpr.runtime.contract.bundle import open_bundle
from stpr.runtime.contract.command import Command
from stpr.runtime.contract.delta import bytes_of, write_delta
from stpr.runtime.contract.manifest import Precision

PARTS: Final = ("weights/stage", "weights/expert", "golden")  # what is told apart; the rest is graphs and papers


@click.command(cls=Command, extra="export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--stages", type=click.IntRange(min=2), required=True, help="Up to which.")
@click.option("--precision", type=click.Choice([*PRECISIONS]), default="fp32", show_default=True)
@click.option("--clips", type=click.IntRange(min=1), default=4, show_default=True, help="Prove each on so many.")
@click.option("--out", type=click.Path(path_type=Path), help="Keep the bundles here. [default: nowhere]")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the megabytes of each stage into this file.")
def main(  # noqa: PLR0913  (one parameter per option is click's way)
    *, run: Path, stages: int, precision: Precision, clips: int, out: Path | None, plot: Path | None
) -> None:
    """Print what an update to each stage of RUN weighs, by part, beside the whole bundle."""
    rows: dict[int, tuple[dict[str, int], int]] = {}
    with tempfile.TemporaryDirectory() if out is None else nullcontext(str(out)) as folder:
        options = Options(precision=precision, clips=clips)
        made = [export_stage(run, stage, Path(folder), options=options) for stage in range(1, stages + 1)]
        for (stage, before), (_, after) in pairwise(enumerate(made, start=1)):
            delta = write_delta(open_bundle(before), open_bundle(after), after.with_name(f"update-{stage}"))
            rows[stage + 1] = _parts(delta), bytes_of(after)
    click.echo("| to stage | statistics, adapter | expert | golden clip | graphs, papers | MB | whole bundle |")
    click.echo("|---|---|---|---|---|---|---|")
    for stage, (parts, whole) in rows.items():
        cells = [*parts.values(), sum(parts.values()), whole]
        click.echo(f"| {stage} | {' | '.join(f'{size / 1e6:.2f}' for size in cells)} |")
    if plot is not None:
        _draw(rows, plot)


def _parts(delta: Path) -> dict[str, int]:
    """Bytes of a delta: each of PARTS, and all else."""
    sizes = dict.fromkeys((*PARTS, ""), 0)
    for name, size in _files(delta):
        sizes[next((part for part in PARTS if name.startswith(part)), "")] += size
    return sizes


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    for file in folder.rglob("*"):
        if file.is_file():
            yield file.relative_to(folder).as_posix(), file.stat().st_size


def _draw(rows: dict[int, tuple[dict[str, int], int]], file: Path) -> None:
    """The updates, part on part, and beside them what the whole bundles weigh."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes, below = figure.subplots(), [0.0] * len(rows)
    names = ("statistics, adapter", "expert", "golden clip", "graphs, papers")
    for part, name in zip((*PARTS, ""), names, strict=True):
        heights = [parts[part] / 1e6 for parts, _ in rows.values()]
        axes.bar([*rows], heights, bottom=below, label=name)
        below = [low + height for low, height in zip(below, heights, strict=True)]
    axes.set(xlabel="stage", ylabel="MB of the update", xticks=[*rows])
    axes.legend()
    figure.savefig(file)


if __name__ == "__main__":
    main()
