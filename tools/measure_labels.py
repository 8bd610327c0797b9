"""Measure how many wrong labels a stage detects: five are swapped on purpose, chosen anew in each try."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Final

import click
import torch

from stpr.runtime.contract.command import Command
from stpr.train.data.videos import quiet_decoder
from stpr.train.learning.distributed import ALONE
from stpr.train.methods.build import settle
from stpr.train.run.prepare import Request, prepare
from stpr.train.run.progress import ShownProgress
from stpr.train.run.stage import learn_stage
from stpr.train.run.trainers import Trainers
from stpr.train.settings.load import load_recipe

SWAPPED: Final = 5


@click.command(cls=Command, extra="train")
@click.argument("recipe")
@click.option("--data", metavar="DIR", help="Where the videos lie.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a setting.")
@click.option("--cache", type=click.Path(path_type=Path), metavar="DIR", help="Keep features there from try to try.")
@click.option("--tries", type=click.IntRange(min=1), default=3)
def main(recipe: str, data: str | None, changes: tuple[str, ...], cache: Path | None, tries: int) -> None:
    """Train stage 1 of RECIPE as it is, then with wrong labels, and print which training clips it suspects."""
    quiet_decoder()
    settings, _ = settle(load_recipe(recipe, changes=changes, root=data))
    for attempt in range(tries + 1):
        with tempfile.TemporaryDirectory() as work, ShownProgress(quiet=True) as shown:
            prepared = prepare(settings, Request(out=Path(work) / "run", last=1, cache=cache), shown, ALONE)
            assert prepared is not None  # a new run has all to learn
            stage, model = prepared.plan.stages[0], prepared.model
            inputs = prepared.clips.train(model.encoder, stage)
            right, rng = inputs.labels.tolist(), random.Random(attempt)
            wrong = rng.sample(range(len(right)), SWAPPED) if attempt else []
            for row in wrong:
                inputs.labels[row] = rng.choice([place for place in range(len(stage.classes)) if place != right[row]])
            trainer = Trainers(prepared, Path(work) / "run", shown).of(stage)
            torch.manual_seed(settings.seed)
            found = dict(learn_stage(model, stage.classes, inputs, settings, trainer).doubts)
        named = sum(found.get(row) == right[row] for row in wrong)
        others = len(found.keys() - set(wrong))
        click.echo(
            f"{len(right)} clips, {len(wrong)} swapped: {named} found with their right class, {others} others named"
        )


if __name__ == "__main__":
    main()
