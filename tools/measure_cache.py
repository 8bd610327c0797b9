"""What the feature cache saves: a recipe's second stage encoded, read from the cache, and learnt, side by side."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from stpr.runtime.contract.command import Command
from stpr.train.data.cache import FeatureCache
from stpr.train.data.source import read_stages, read_videos
from stpr.train.data.videos import quiet_decoder
from stpr.train.methods import METHODS
from stpr.train.run.progress import ShownProgress
from stpr.train.run.protocol import _fit, prepare, run_protocol
from stpr.train.settings.load import load_recipe

Result = TypeVar("Result")


@click.command(cls=Command, extra="train")
@click.argument("recipe")
@click.option("--data", metavar="DIR", help="Where the videos lie.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a setting.")
@click.option("--cache", type=click.Path(path_type=Path), metavar="DIR", help="Keep the cache.  [default: a new one]")
def main(recipe: str, data: str | None, changes: tuple[str, ...], cache: Path | None) -> None:
    """Learn stage 1 of RECIPE, then print how long its stage 2 takes without a cache and with a warm one."""
    quiet_decoder()
    settings = load_recipe(recipe, changes=changes, root=data)
    with tempfile.TemporaryDirectory() as work, ShownProgress() as shown:
        listed = read_videos(settings.data, shown.generating)
        stages = read_stages(settings.stages, listed, ())
        run = prepare(settings, listed, stages, out=Path(work) / "run", progress=shown)
        kept = run.cache = FeatureCache(cache or Path(work) / "cache")
        run_protocol(run, last=1)
        stage = stages[1]
        run.inputs(stage, "train")  # fill the cache
        run.cache = None
        inputs, encoding = _timed(lambda: run.inputs(stage, "train"))
        run.cache = FeatureCache(kept.folder)
        _, reading = _timed(lambda: run.inputs(stage, "train"))
        learn = METHODS[settings.method]
        _, learning = _timed(lambda: learn(run.model, stage.classes, inputs, settings, _fit(run, stage)))
    click.echo(f"stage 2, {len(inputs.labels)} training clips          wall s    CPU s")
    for what, (wall, cpu) in (("encoding", encoding), ("reading the cache", reading), ("learning", learning)):
        click.echo(f"  {what:32} {wall:10.2f} {cpu:8.2f}")
    for what, kind in (("wall clock", 0), ("CPU", 1)):
        whole = (encoding[kind] + learning[kind]) / (reading[kind] + learning[kind])
        click.echo(f"  by {what}: inputs {encoding[kind] / reading[kind]:.0f}x faster, the whole stage {whole:.1f}x")


def _timed(work: Callable[[], Result]) -> tuple[Result, tuple[float, float]]:
    """What it gives, and how long it took by the wall clock and of the processor."""
    wall, cpu = time.monotonic(), time.process_time()
    result = work()
    return result, (time.monotonic() - wall, time.process_time() - cpu)


if __name__ == "__main__":
    main()
