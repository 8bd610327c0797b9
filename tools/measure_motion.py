"""Measure the cost of motion: a recipe's encoder with and without it, and a camera frame's small grey picture."""

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
from stpr.train.methods import method_of
from stpr.train.methods.build import build_model
from stpr.train.settings.load import load_recipe

CAMERA = (480, 640, 3)


@click.command(cls=Command, extra="export")
@click.argument("recipe")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a setting, such as the backbone.")
@click.option("--pairs", type=click.IntRange(min=1), default=4, show_default=True, help="Pairs of pictures a frame.")
@click.option("--runs", type=click.IntRange(min=1), default=300, show_default=True, help="Runs of each, in turns.")
def main(recipe: str, changes: tuple[str, ...], pairs: int, runs: int) -> None:
    """Time one frame of RECIPE's encoder on one CPU thread of onnxruntime, with and without motion, in turns."""
    work: dict[str, Callable[[], object]] = {}
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as temporary:
        for name, seen in (("without", 0), ("with", pairs)):
            settings = load_recipe(recipe, changes=(*changes, *_views(seen)), root=None)
            model = build_model(settings)
            method_of(settings).grow(model, 2)  # classes without values: what is measured stands before them
            model.eval()
            folder = Path(temporary) / name
            folder.mkdir()
            write_onnx(model, trace_pieces(model), folder)
            engine = open_engine("onnxruntime", folder / f"{GraphName.ENCODER}.onnx", EngineOptions(threads=1))
            spec, motion = model.encoder.pixels.picture, model.encoder.pixels.motion
            feeds = {"frames": rng.integers(0, 256, (1, spec.height, spec.width, 3), np.uint8)}
            if motion:
                feeds["greys"] = rng.integers(0, 256, (1, pairs, 2, motion.side, motion.side), np.uint8)
                image = rng.integers(0, 256, CAMERA, np.uint8)
                work["grey"] = partial(grey, image, motion)
            work[name] = partial(engine.run, feeds)
        times = median_seconds(work, runs)
    click.echo(f"encoder without motion   {1e3 * times['without']:7.2f} ms a frame")
    click.echo(
        f"encoder with {pairs} pairs     {1e3 * times['with']:7.2f} ms, {times['with'] / times['without']:.3f} times"
    )
    click.echo(f"a camera frame in grey   {1e3 * times['grey']:7.2f} ms, {CAMERA[1]} x {CAMERA[0]} pixels")


def _views(pairs: int) -> tuple[str, ...]:
    """A recipe that asks for so many pairs, whatever its statistics describe."""
    off = () if pairs else ("statistics.motion={}", "statistics.rhythm=false")
    return (f"sampling.motion={pairs}", "method=nearest_mean", *off)  # its head holds nothing that must be learnt first


if __name__ == "__main__":
    main()
