"""Measure what the columns of a frame feature cost: a recipe's encoder beside variants with other columns, in turns."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import numpy as np

from stpr.export.graphs.assemble import trace_pieces, write_onnx
from stpr.export.in_turns import median_seconds
from stpr.runtime.contract.command import Command
from stpr.runtime.contract.manifest import GraphName
from stpr.runtime.contract.motion import grey
from stpr.runtime.engines import open_engine
from stpr.runtime.engines.engine import EngineOptions
from stpr.train.compare.presets import Row, choose_rows
from stpr.train.methods import method_of
from stpr.train.methods.build import build_model
from stpr.train.settings.load import load_recipe
from stpr.train.settings.recipe import Recipe

CAMERA = (480, 640, 3)


@click.command(cls=Command, extra="export")
@click.argument("recipe")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a setting of every row.")
@click.option(
    "--row", "rows", multiple=True, metavar="'NAME: KEY=VALUE …'", help="A variant, as in stpr-train compare."
)
@click.option("--runs", type=click.IntRange(min=1), default=300, show_default=True, help="Runs of each, in turns.")
def main(recipe: str, changes: tuple[str, ...], rows: tuple[str, ...], runs: int) -> None:
    """Time one frame of RECIPE's encoder and of each variant's on one CPU thread of onnxruntime, in turns."""
    work: dict[str, Callable[[], object]] = {}
    variants = [Row("recipe", ()), *choose_rows(rows)]
    with tempfile.TemporaryDirectory() as temporary:
        for row in variants:
            folder = Path(temporary) / row.name
            folder.mkdir()
            # Its head holds nothing that must be learnt first.
            settings = load_recipe(recipe, changes=(*changes, *row.changes, "method=nearest_mean"), root=None)
            work |= _frame(row.name, settings, folder)
        times = median_seconds(work, runs)
    first = times["recipe"]
    for name, seconds in times.items():
        click.echo(f"{name:<28} {1e3 * seconds:7.2f} ms {seconds / first:7.3f} times")


def _frame(name: str, recipe: Recipe, folder: Path) -> dict[str, Callable[[], object]]:
    """One run of the recipe's encoder and, with motion, of turning a camera's frame into a small grey picture."""
    rng = np.random.default_rng(0)
    model = build_model(recipe)
    method_of(recipe).grow(model, 2)  # classes without values: what is measured stands before them
    model.eval()
    write_onnx(model, trace_pieces(model), folder)
    engine = open_engine("onnxruntime", folder / f"{GraphName.ENCODER}.onnx", EngineOptions(threads=1))
    spec, motion = model.encoder.pixels.picture, model.encoder.pixels.motion
    feeds = {"frames": rng.integers(0, 256, (1, spec.height, spec.width, 3), np.uint8)}
    if not motion:
        return {name: partial(engine.run, feeds)}
    feeds["greys"] = rng.integers(0, 256, (1, motion.pairs, 2, motion.side, motion.side), np.uint8)
    image = rng.integers(0, 256, CAMERA, np.uint8)
    return {
        name: partial(engine.run, feeds),
        f"a {CAMERA[1]} x {CAMERA[0]} frame in grey": partial(grey, image, motion),
    }


if __name__ == "__main__":
    main()
