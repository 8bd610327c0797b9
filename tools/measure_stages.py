"""Measure agreement with PyTorch, size and time of a run's bundles: each stage, precision and engine that runs here.

PYTHONPATH=tools/typing python tools/measure_stages.py runs/motions bundles/motions
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Final

import click
import msgspec
import numpy as np

from stpr.export.parity.clips import load_all, tested_videos
from stpr.export.parity.reference import Answers, answers, join
from stpr.runtime.contract.bundle import MANIFEST, Bundle, open_bundle
from stpr.runtime.contract.command import Command
from stpr.runtime.contract.durable import write_file
from stpr.runtime.contract.errors import BundleError, EngineError
from stpr.runtime.contract.manifest import GraphName
from stpr.runtime.contract.preprocess import Array
from stpr.runtime.engines import ENGINES, open_graph
from stpr.runtime.engines.engine import Engine, EngineOptions
from stpr.train.data.pixels import PixelSpec
from stpr.train.run.checkpoint import load_stage

GRAPHS: Final = (GraphName.ENCODER, GraphName.HEAD)
BATCH: Final = 8  # clips per call


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One bundle on one engine; times are medians in seconds, of one frame and of one window."""

    stage: int
    precision: str
    engine: str
    clips: int
    top1: float  # shares of clips on which the first choice is PyTorch's
    routing: float
    logits: float  # the largest difference of a logit from PyTorch's
    bytes: int  # of the bundle
    frame: float
    window: float
    frame_cpu: float  # of this process, all threads: other load on the machine does not count


@click.command(cls=Command, extra="export")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("bundles", type=click.Path(path_type=Path))
@click.option("--clips", type=click.IntRange(min=1), default=48, show_default=True, help="Test clips of each stage.")
@click.option("--calls", type=click.IntRange(min=1), default=40, show_default=True, help="Of each engine, in turns.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="All figures as JSON.")
def main(  # noqa: PLR0913  (one parameter per option is click's way)
    *, run: Path, bundles: Path, clips: int, calls: int, threads: int, json_file: Path | None
) -> None:
    """Print a table of all bundles of RUN in the folder BUNDLES, and why an engine does not run here."""
    found = [open_bundle(file.parent) for file in bundles.glob(f"stage-*/{MANIFEST}")]
    if not found:
        raise BundleError(f"{bundles} holds no bundles; name the folder of a run's, such as bundles/motions.")
    found.sort(key=lambda one: (one.manifest.stage, one.path.name))
    left_out: dict[str, str] = {}
    rows: list[Row] = []
    for stage, own in groupby(found, key=lambda one: one.manifest.stage):
        pixels, wanted = _pytorch(run, stage, clips)
        with ExitStack() as opened:
            pairs = list(_pairs(list(own), EngineOptions(threads=threads), opened, left_out))
            rows += _rows(pairs, pixels, wanted, calls)
    for line in _lines(rows, left_out):
        click.echo(line)
    if json_file is not None:
        write_file(json_file, msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n")


class Pair(msgspec.Struct, frozen=True):
    """A bundle's encoder and head on an engine."""

    bundle: Bundle
    name: str
    engines: Mapping[GraphName, Engine]


def _pytorch(run: Path, stage: int, clips: int) -> tuple[Array, Answers]:
    """The pixels of a stage's test clips, and PyTorch's outputs for them."""
    model, record, recipe = load_stage(run, stage)
    loaded = load_all(tested_videos(run, stage, None)[:clips], record, recipe.sampling)
    pixels = np.stack([clip.pixels for clip in loaded])
    parts = [answers(model.eval(), pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
    return pixels, join(parts)


def _pairs(
    bundles: list[Bundle], options: EngineOptions, opened: ExitStack, left_out: dict[str, str]
) -> Iterator[Pair]:
    """Yield every bundle on every engine; adds to `left_out`, once per engine, why one does not run here."""
    for bundle in bundles:
        for name in ENGINES:
            try:
                engines = {
                    graph: opened.enter_context(closing(open_graph(name, bundle, graph, options))) for graph in GRAPHS
                }
                yield Pair(bundle, name, engines)
            except EngineError as error:
                left_out.setdefault(name, error.message)


def _rows(pairs: list[Pair], pixels: Array, wanted: Answers, calls: int) -> Iterator[Row]:
    frame = {name: rows[:1] for name, rows in _frames(pairs[0].bundle, pixels[:1]).items()}
    feeds = {GraphName.ENCODER: frame, GraphName.HEAD: {"features": wanted.features[:1]}}
    work = [{graph: partial(pair.engines[graph].run, feeds[graph]) for graph in GRAPHS} for pair in pairs]
    taken = np.array([[[_seconds(one[graph]) for graph in GRAPHS] for one in work] for _ in range(calls)])
    times = np.median(taken, axis=0)  # of each pair, each graph: on the clock, of the processor
    for pair, ((frame_time, frame_cpu), (window, _)) in zip(pairs, times.tolist(), strict=True):
        outputs = _run(pair, pixels, wanted.features.shape[1:])
        manifest = pair.bundle.manifest
        yield Row(
            stage=manifest.stage,
            precision=manifest.precision,
            engine=pair.name,
            clips=len(pixels),
            top1=_same(outputs["logits"], wanted.logits),
            routing=_same(outputs["routing"], wanted.routing),
            logits=float(np.abs(outputs["logits"] - wanted.logits).max()),
            bytes=sum(entry.bytes for entry in manifest.files.values()),
            frame=frame_time,
            window=window,
            frame_cpu=frame_cpu,
        )


def _seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock and CPU seconds of a call."""
    clock, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - clock, time.process_time() - processor


def _run(pair: Pair, pixels: Array, window: tuple[int, ...]) -> dict[str, Array]:
    """Outputs of encoder and head for clips, a few at a time."""
    found = []
    for start in range(0, len(pixels), BATCH):
        seen = _frames(pair.bundle, pixels[start : start + BATCH])
        features = pair.engines[GraphName.ENCODER].run(seen)["features"].reshape(-1, *window)
        found.append(pair.engines[GraphName.HEAD].run({"features": features}))
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}


def _frames(bundle: Bundle, pixels: Array) -> dict[str, Array]:
    """All frames of clips as inputs of the encoder."""
    spec = PixelSpec(bundle.manifest.preprocess, bundle.manifest.motion)
    frames, greys = spec.split(pixels.reshape(-1, *pixels.shape[2:]))
    return {"frames": frames} if greys is None else {"frames": frames, "greys": greys}


def _same(found: Array, wanted: Array) -> float:
    return float((found.argmax(axis=1) == wanted.argmax(axis=1)).mean())


def _lines(rows: list[Row], left_out: Mapping[str, str]) -> Iterator[str]:
    """The table as lines of Markdown; times in units of the stage's first row."""
    yield "| stage | precision | engine | top-1 as PyTorch | routing | logits off by | MB | frame | of CPU | window |"
    yield f"|{'---|' * 10}"
    for _, own in groupby(rows, key=lambda row: row.stage):
        first, *_ = stage = list(own)
        for row in stage:
            yield (
                f"| {row.stage} | {row.precision} | {row.engine} | {row.top1:.1%} | {row.routing:.1%} |"
                f" {row.logits:.1e} | {row.bytes / 1e6:.1f} | {row.frame / first.frame:.2f} |"
                f" {row.frame_cpu / first.frame_cpu:.2f} |"
                f" {row.window / first.window:.2f} |"
            )
    yield f"\n{rows[0].clips} test clips of each stage; times in units of the stage's first row."
    for name, reason in left_out.items():
        yield f"{name}: not here; {reason}"


if __name__ == "__main__":
    main()
