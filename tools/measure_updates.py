"""Measure the size of each stage's update for a device that has the stage before: tables and a plot.

Both are extrapolated to stage 50: experts have one size and classes are rows, so a bundle grows linearly.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeAlias

import click
import onnx
from matplotlib.figure import Figure
from onnx import numpy_helper
from onnx.external_data_helper import load_external_data_for_tensor

from stpr.export.package.pipeline import export_stage
from stpr.export.package.request import Options
from stpr.export.precisions import PRECISIONS
from stpr.runtime.contract.bundle import open_bundle
from stpr.runtime.contract.command import Command
from stpr.runtime.contract.delta import PACKED, bytes_of, packed_bytes, write_delta
from stpr.runtime.contract.manifest import GraphName, Precision
from stpr.train.estimate.audit import HORIZON

PARTS: Final = ("weights/stage", "weights/expert", "golden")  # listed separately; the rest is graphs and documents
NAMES: Final = ("statistics, adapter", "expert", "golden clip", "graphs, papers")

Row: TypeAlias = list[float]  # MB of each part of an update, of all of it, and of the whole bundle


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
    """Print the size of the update to each stage of RUN, by part, and of the last one by tensor; and of the bundle."""
    rows: dict[int, Row] = {}
    with tempfile.TemporaryDirectory() if out is None else nullcontext(str(out)) as folder:
        options = Options(precision=precision, clips=clips)
        made = [export_stage(run, stage, Path(folder), options=options) for stage in range(1, stages + 1)]
        for (stage, before), (_, after) in pairwise(enumerate(made, start=1)):
            delta = write_delta(open_bundle(before), open_bundle(after), after.with_name(f"update-{stage}"))
            sizes = [*_parts(delta).values(), bytes_of(delta), bytes_of(after)]
            rows[stage + 1] = [size / 1e6 for size in sizes]
        last = [*_tensors(delta, after)]
    click.echo(f"| to stage | {' | '.join(NAMES)} | MB | whole bundle |")
    click.echo("|---|---|---|---|---|---|---|")
    ahead = _ahead(rows)
    for stage, row in [*rows.items(), *list(ahead.items())[-1:]]:
        label = f"{stage}, projected" if stage in ahead else str(stage)
        click.echo(f"| {label} | {' | '.join(f'{size:.2f}' for size in row)} |")
    click.echo(f"\n| tensors of the update to stage {stages} | type | MB | MB packed |")
    click.echo("|---|---|---|---|")
    for name, kind, size, packed in last:
        click.echo(f"| {name} | {kind} | {size / 1e6:.3f} | {packed / 1e6:.3f} |")
    if plot is not None:
        _draw(rows, ahead, plot)


def _parts(delta: Path) -> dict[str, int]:
    """Bytes of an update by part: each of PARTS, and the rest."""
    sizes = dict.fromkeys((*PARTS, ""), 0)
    for name, size in _files(delta):
        sizes[next((part for part in PARTS if name.startswith(part)), "")] += size
    return sizes


def _tensors(delta: Path, bundle: Path) -> Iterator[tuple[str, str, int, int]]:
    """Each kind of tensor in the weight files that an update brings: name, type, bytes, and bytes packed as it is."""
    brought = {name.removesuffix(PACKED) for name, _ in _files(delta) if name.startswith("weights/")}
    found: dict[tuple[str, str], dict[str, bytes]] = {}
    for graph in (GraphName.ENCODER, GraphName.HEAD):
        for tensor in onnx.load(str(open_bundle(bundle).graph(graph)), load_external_data=False).graph.initializer:
            if brought.intersection(entry.value for entry in tensor.external_data):
                load_external_data_for_tensor(tensor, str(bundle))
                kind = numpy_helper.to_array(tensor).dtype.name
                found.setdefault((_kind_of(tensor.name), kind), {})[tensor.name] = tensor.raw_data
    rows = [
        (name, kind, sum(map(len, held.values())), sum(packed_bytes(content) for content in held.values()))
        for (name, kind), held in found.items()
    ]
    yield from sorted(rows, key=lambda row: -row[3])


def _kind_of(name: str) -> str:
    """What a tensor is, without the number of its view or expert."""
    part, *inside = name.split("/")[:2]
    if part.startswith("expert_"):
        return "expert"
    if "adapter" in inside[0]:
        return "adapter"
    words = [word for word in inside[0].split(".") if not word.isdigit()]
    return " ".join(words).removeprefix("head ").replace("_", " ")


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    for file in folder.rglob("*"):
        if file.is_file():
            yield file.relative_to(folder).as_posix(), file.stat().st_size


def _ahead(rows: Mapping[int, Row]) -> dict[int, Row]:
    """Rows up to HORIZON, extrapolated linearly from the first and the last row; none if there is a single row."""
    first, last = min(rows), max(rows)
    if first == last:
        return {}
    slopes = [(now - then) / (last - first) for then, now in zip(rows[first], rows[last], strict=True)]
    return {
        stage: [now + (stage - last) * slope for now, slope in zip(rows[last], slopes, strict=True)]
        for stage in range(last + 1, HORIZON + 1)
    }


def _draw(rows: Mapping[int, Row], ahead: Mapping[int, Row], file: Path) -> None:
    """Plot the updates (left, stacked by part) and the whole bundles (right, dashed where extrapolated)."""
    figure = Figure(figsize=(10, 3.5), layout="constrained")
    (left, right), below = figure.subplots(1, 2), [0.0] * len(rows)
    for place, name in enumerate(NAMES):
        heights = [row[place] for row in rows.values()]
        left.bar([*rows], heights, bottom=below, label=name)
        below = [low + height for low, height in zip(below, heights, strict=True)]
    left.set(xlabel="stage", ylabel="MB of the update", xticks=[*rows])
    left.legend()
    right.plot([*rows], [row[-1] for row in rows.values()], "o-")
    right.plot([*ahead], [row[-1] for row in ahead.values()], "--", color="C0")
    right.set(xlabel="stage", ylabel="MB of the bundle", ylim=(0, None))
    figure.savefig(file)


if __name__ == "__main__":
    main()
