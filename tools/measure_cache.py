"""Measure what the feature cache saves: a recipe's second stage encoded, read from the cache, and trained."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import click

from stpr.runtime.contract.command import Command
from stpr.train.data.cache import FeatureCache
from stpr.train.data.videos import quiet_decoder
from stpr.train.learning.distributed import ALONE
from stpr.train.run.execute import execute
from stpr.train.run.prepare import Request, prepare
from stpr.train.run.progress import ShownProgress
from stpr.train.run.stage import learn_stage
from stpr.train.run.trainers import Trainers
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
        folder = cache or Path(work) / "cache"
        request = Request(out=Path(work) / "run", last=1, cache=folder)
        execute(settings, request, shown)
        prepared = prepare(settings, replace(request, resume=True, last=2), shown, ALONE)
        if prepared is None:
            raise click.UsageError(f"{recipe} has a single stage; choose a recipe with two.")
        stage, model = prepared.plan.stages[1], prepared.model
        prepared.clips.train(model.encoder, stage)  # fill the cache
        without, warm = (replace(prepared.clips, cache=kept) for kept in (None, FeatureCache(folder)))
        inputs, encoding = _timed(lambda: without.train(model.encoder, stage))
        _, reading = _timed(lambda: warm.train(model.encoder, stage))
        trainer = Trainers(prepared, request.out, shown).of(stage)
        _, learning = _timed(lambda: learn_stage(model, stage.classes, inputs, settings, trainer))
    click.echo(f"stage 2, {len(inputs.labels)} training clips          wall s    CPU s")
    for what, (wall, cpu) in (("encoding", encoding), ("reading the cache", reading), ("learning", learning)):
        click.echo(f"  {what:32} {wall:10.2f} {cpu:8.2f}")
    for what, kind in (("wall clock", 0), ("CPU", 1)):
        whole = (encoding[kind] + learning[kind]) / (reading[kind] + learning[kind])
        click.echo(f"  by {what}: inputs {encoding[kind] / reading[kind]:.0f}x faster, the whole stage {whole:.1f}x")


def _timed(work: Callable[[], Result]) -> tuple[Result, tuple[float, float]]:
    """The result of `work`, and its wall-clock and CPU seconds."""
    wall, cpu = time.monotonic(), time.process_time()
    result = work()
    return result, (time.monotonic() - wall, time.process_time() - cpu)


if __name__ == "__main__":
    main()
