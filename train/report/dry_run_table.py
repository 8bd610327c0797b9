"""The terminal output of `stpr-train --dry-run`: a table of the stages, and one line per other finding."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from textwrap import shorten
from typing import Final

from stpr.train.estimate.cost import Rates
from stpr.train.estimate.dry_run import DryRun, dry_run, free_bytes
from stpr.train.methods import cautions
from stpr.train.report.console import new_console, print_facts, print_table
from stpr.train.report.quantities import duration, size
from stpr.train.settings.recipe import Recipe

NUMBERS_WIDTH: Final = 50  # maximum width of the columns before the class names
NAMED: Final = 3  # number of missing videos that are listed by name


def show_dry_run(recipe: Recipe, folder: Path, *, last: int | None, resume: bool) -> bool:
    """Print what a run would do and need, timing this machine for some seconds; returns whether it could start."""
    found = dry_run(recipe, out=folder, last=last, resume=resume)
    show_findings(found, found.rates())
    return not found.problems


def show_findings(found: DryRun, rates: Rates | None) -> None:
    """Print the stages, missing videos, time and disk space; problems that prevent the run come last."""
    console = new_console()
    if found.stages:
        room = max(20, console.width - NUMBERS_WIDTH)
        print_table(console, ["stage", "classes", "train", "test", "which"], _stages(found, room), left=(4,))
        console.print()
    print_facts(console, _facts(found, rates))


def _stages(found: DryRun, room: int) -> Iterator[list[str]]:
    """Rows of the table: class and clip counts of each stage, class names within `room` characters; then the totals."""
    rows = [(len(stage.classes), counted.train, counted.test) for stage, counted in found.stages]
    for (stage, _), row in zip(found.stages, rows, strict=True):
        names = shorten(", ".join(stage.classes), room, placeholder=" …")
        yield [str(stage.index), *(f"{count:,}" for count in row), names]
    yield ["all", *(f"{sum(counts):,}" for counts in zip(*rows, strict=True)), ""]


def _facts(found: DryRun, rates: Rates | None) -> Iterator[tuple[str, str]]:
    recipe = found.recipe
    yield "recipe", f"{recipe.name}: {recipe.method}, seed {recipe.seed}, run folder {found.out}"
    yield from (("lists", f"{digest}  {name}") for name, digest in found.lists.items())
    yield from (("note", caution) for caution in cautions(recipe))
    yield from (("videos", line) for line in _videos(found))
    yield "network", _network(found)
    yield from (("chosen", line) for line in found.chosen)
    if found.stages:
        yield from (("time", line) for line in _time(found, rates))
        yield "disk", _disk(found)
    yield from (("problem", problem) for problem in found.problems)
    verdict = "the run could not start" if found.problems else "the run could start"
    yield "verdict", f"{verdict}; nothing was learnt or written"


def _videos(found: DryRun) -> list[str]:
    if found.to_write:
        return [f"{len(found.videos):,} are to be written first, into {found.recipe.data.root}"]
    if not found.videos:
        return ["unknown"]
    root, lines = Path(found.recipe.data.root).expanduser(), []
    for split in ("train", "test"):
        count = sum(video.split == split for video in found.videos)
        gone = found.missing.get(split, [])
        first = ", ".join(os.path.relpath(path, root) for path in gone[:NAMED]) + (", …" if len(gone) > NAMED else "")
        where = f" in {root}: {first}" if gone else ""
        lines.append(f"{len(gone):,} of {count:,} for {split} are missing{where}")
    beside = found.preparation
    if beside.background:
        lines.append(f"{beside.background:,} background videos: {beside.frames:,} frames of their windows are encoded")
    return lines


def _network(found: DryRun) -> str:
    source = found.recipe.backbone.source
    if found.network and found.network.here:
        return f"{source} is here and loads"
    return f"{source}: see the problems below"


def _time(found: DryRun, rates: Rates | None) -> list[str]:
    work, workers = found.work, found.recipe.sampling.workers
    counted = f"{work.encoded:,} frames encoded, {work.learnt:,} clips learnt"
    if rates is None:
        return [f"network unknown: {counted}", f"decoding unknown: {work.decoded:,} videos"]
    network = work.encoded * rates.encode + work.learnt * rates.learn
    paces = f"{duration(rates.encode)} a frame, {duration(rates.learn)} a clip"
    how = "" if found.network and found.network.here else ", with random weights in the network's form"
    lines = [f"network about {duration(network)}: {counted}; {paces}, measured just now on {rates.device}{how}"]
    if rates.decode is None:
        return [*lines, f"decoding unknown: {work.decoded:,} videos, and none is here to measure"]
    decoding = work.decoded * rates.decode / workers
    measured = found.preparation.measured
    lengths = f"; {measured:,} of them only to measure their length" if measured else ""
    lines.append(
        f"decoding about {duration(decoding)}: {work.decoded:,} videos; {duration(rates.decode)} each, measured just"
        f" now on one of them, by {workers} workers{lengths}"
    )
    both = f"between {duration(max(network, decoding))} and {duration(network + decoding)}"
    return [*lines, f"in all {both}: decoding overlaps with the network if there are enough cores"]


def _disk(found: DryRun) -> str:
    free = f"{size(free_bytes(found.out))} are free"
    if not found.sizes:
        return f"unknown without the network's form; {free}"
    written = ", and the videos to be written" if found.to_write else ""
    kept = f"stage checkpoints {size(found.sizes[0])} to {size(found.sizes[-1])}, {size(sum(found.sizes))} in all"
    return f"about {size(found.disk)}: {kept}; the rest is predictions and the report{written}; {free}"
